//! The files of a cluster: `hdfs://`.

use std::borrow::Cow;

use bytes::Bytes;
use millstream_core::{Error, Result};
use millstream_hdfs::{Client, File};

use super::files::{FileSystem, OutputFile};

/// A cluster of HDFS.
#[derive(Debug)]
pub(super) struct ClusterFiles {
    client: Client,
}

// === impl ClusterFiles ===

impl ClusterFiles {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }
}

impl FileSystem for ClusterFiles {
    fn create(&self, path: &str) -> Result<Box<dyn OutputFile>> {
        Ok(Box::new(self.client.create(&name(path))?))
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.client.exists(&name(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.client.rename(&name(from), &name(to))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.client.remove(&name(path))
    }
}

impl OutputFile for File {
    fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.append(bytes)
    }

    fn cut_back(&mut self, _len: u64) -> Result<()> {
        let error = std::io::Error::new(std::io::ErrorKind::Unsupported, "files of a cluster only grow");
        Err(Error::io("cut back", self.place(), error))
    }

    fn close(&mut self) -> Result<()> {
        self.close()
    }
}

/// The path as a NameNode takes it: no colon, and no name that is empty.
fn name(path: &str) -> Cow<'_, str> {
    if !path.contains(':') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let names = path.split('/').filter(|name| !name.is_empty());
    Cow::Owned(names.flat_map(|name| ["/".into(), name.replace(':', "%3A")]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_a_name_node_takes() {
        assert_eq!(name("/a/b.1.tmp"), "/a/b.1.tmp");
        assert_eq!(name("//a//b:c/d"), "/a/b%3Ac/d");
    }
}
