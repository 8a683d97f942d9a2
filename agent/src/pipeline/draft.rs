//! Channels on their way: what can be opened, and what is open.

use std::path::PathBuf;
use std::sync::Arc;

use millstream_core::{ChannelContext, ChannelRef, ChannelSpec, ComponentStatus, Result};

use super::{Component, guarded};
use crate::metered::Metered;

/// An open channel.
#[derive(Debug)]
pub(crate) struct ChannelPart {
    pub(crate) type_name: &'static str,
    pub(crate) channel: ChannelRef,
    pub(crate) status: Arc<ComponentStatus>,
    /// To open it again.
    pub(crate) draft: Arc<ChannelDraft>,
}

/// A channel that can be opened, again after it was closed.
#[derive(Debug)]
pub(crate) struct ChannelDraft {
    pub(super) component: Component<ChannelSpec>,
    pub(super) home: PathBuf,
}

// === impl ChannelDraft ===

impl ChannelDraft {
    /// Opens the channel. Waits for the disk.
    pub(crate) fn open(self: &Arc<Self>) -> Result<ChannelPart> {
        let Component { full_name, name, spec, options, status } = &self.component;
        let cx = ChannelContext { name: Arc::clone(name), home: self.home.clone() };
        let channel = guarded(full_name, || (spec.build)(options, &cx)?())?;
        let status = Arc::clone(status);
        let channel = Metered::wrap(channel, Arc::clone(&status));
        Ok(ChannelPart { type_name: spec.name, channel, status, draft: Arc::clone(self) })
    }

    /// Judges the options without touching a store.
    pub(super) fn check(&self) -> Result<()> {
        let Component { full_name, name, spec, options, .. } = &self.component;
        let cx = ChannelContext { name: Arc::clone(name), home: self.home.clone() };
        guarded(full_name, || (spec.build)(options, &cx)).map(drop)
    }

    /// As the options say; a channel without that option has no bound.
    pub(super) fn transaction_capacity(&self) -> u64 {
        self.component.options.int("transactionCapacity").unwrap_or(u64::MAX)
    }
}
