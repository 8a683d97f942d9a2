//! Some of a source's channels, as an option lists them.

use std::sync::Arc;

use millstream_core::options::nearest;
use millstream_core::{Error, Result};

/// Indexes of channels, in configuration order, ascending, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChannelSet(Vec<usize>);

// === impl ChannelSet ===

impl ChannelSet {
    /// Reads names separated by blanks or commas.
    ///
    /// # Errors
    /// What `refuse` makes of a name that is none of `channels`.
    pub(crate) fn parse(list: &str, channels: &[Arc<str>], refuse: impl Fn(String) -> Error) -> Result<Self> {
        let names = list.split([' ', ',', '\t']).filter(|name| !name.is_empty());
        let indexes: Result<Vec<usize>> = names.map(|name| index_of(name, channels).map_err(&refuse)).collect();
        let mut indexes = indexes?;
        indexes.sort_unstable();
        indexes.dedup();
        Ok(Self(indexes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &usize> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, channel: usize) -> bool {
        self.0.binary_search(&channel).is_ok()
    }

    /// Those that are not in `others`.
    pub(crate) fn without(mut self, others: &Self) -> Self {
        self.0.retain(|&channel| !others.contains(channel));
        self
    }
}

fn index_of(name: &str, channels: &[Arc<str>]) -> Result<usize, String> {
    channels.iter().position(|channel| &**channel == name).ok_or_else(|| {
        let hint = nearest(name, channels.iter().map(|channel| &**channel));
        let hint = hint.map_or(String::new(), |channel| format!("; did you mean {channel}?"));
        format!("expected channels of this source ({}), got {name:?}{hint}", channels.join(" "))
    })
}
