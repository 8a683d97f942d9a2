//! Interceptors: they change events on their way in, or drop them by a named rule.
//!
//! One file each; a program finds them by name in [`INTERCEPTORS`].

pub mod timestamp;

use millstream_core::InterceptorSpec;

/// Every interceptor of this crate, in documentation order.
pub static INTERCEPTORS: &[&InterceptorSpec] = &[&timestamp::SPEC];
