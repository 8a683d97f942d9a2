//! What can be kept as state.

use millstream_core::Word;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value kept per key over batches and restarts, stored as MessagePack with field names.
///
/// Raise `VERSION` whenever the meaning of the stored fields changes: a state of another version or type is refused at
/// start with the way to migrate, instead of being read wrongly.
pub trait State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Version of the stored form.
    const VERSION: u32 = 1;
}

macro_rules! states {
    ($($type:ty)*) => {$(impl State for $type {})*};
}

states!(bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 String Word);

impl<T: State> State for Option<T> {
    const VERSION: u32 = T::VERSION;
}

impl<T: State> State for Vec<T> {
    const VERSION: u32 = T::VERSION;
}

impl<A: State, B: State> State for (A, B) {
    const VERSION: u32 = A::VERSION.wrapping_mul(31).wrapping_add(B::VERSION);
}
