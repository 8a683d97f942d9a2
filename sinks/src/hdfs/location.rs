//! Where `hdfs.path` leads: to a directory of this machine or of a cluster, and to the file system that is there.

use std::sync::Arc;

use millstream_core::{Options, Result};
use millstream_hdfs::{Access, Client};
use millstream_io::{Disk, LocalHost};

use super::cluster::ClusterFiles;
use super::files::{FileSystem, LocalFiles};
use super::template::{Template, template};

/// A directory, and whose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location<'a> {
    /// `hdfs://` and what stands before the path; None: this machine.
    cluster: Option<&'a str>,
    /// With its escapes.
    path: &'a str,
}

// === impl Location ===

impl<'a> Location<'a> {
    pub(super) fn from_options(options: &'a Options) -> Result<Self> {
        let text = options.text("hdfs.path")?;
        Self::parse(text).map_err(|problem| options.refuse("hdfs.path", format_args!("{problem}, got {text:?}")))
    }

    fn parse(text: &'a str) -> std::result::Result<Self, &'static str> {
        let location = match text.split_once(':') {
            // file:/a, file:///a and file://localhost/a are one.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => match rest.strip_prefix("//") {
                Some(rest) => Self { cluster: None, path: rest.strip_prefix("localhost").unwrap_or(rest) },
                None => Self { cluster: None, path: rest },
            },
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("hdfs") => {
                // hdfs://host:port/a, hdfs:///a and hdfs:/a.
                let after = rest.strip_prefix("//");
                let authority = after.and_then(|after| after.split('/').next()).unwrap_or_default();
                let (cluster, path) = text.split_at(text.len() - after.unwrap_or(rest).len() + authority.len());
                if authority.contains('%') || !(path.is_empty() || path.starts_with('/')) {
                    return Err("expected hdfs://host:port/…, with escapes in the path only");
                }
                Self { cluster: Some(cluster), path }
            }
            Some((scheme, _)) if !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                return Err("expected hdfs://… or a directory of this machine, file:///…; others are not built in yet");
            }
            _ => Self { cluster: None, path: text },
        };
        let fixed = location.path.split('%').next().unwrap_or_default();
        if fixed.trim_matches('/').is_empty() {
            return Err("expected a path that begins with a directory, so that events stay within it");
        }
        if location.path.contains('\0') {
            return Err("expected a path without NUL");
        }
        Ok(location)
    }

    /// The directory within its file system.
    pub(super) fn template(&self, options: &Options) -> Result<Template> {
        template(options, "hdfs.path", self.path.trim_end_matches('/'))
    }

    /// The file system that it is in; `disk` is this machine's.
    pub(super) fn files(&self, options: &Options, disk: Arc<dyn Disk>) -> Result<Arc<dyn FileSystem>> {
        let Some(cluster) = self.cluster else {
            return Ok(Arc::new(LocalFiles::new(disk, options.bool("hdfs.fsync")?)));
        };
        let timeout = options.millis("hdfs.callTimeout")?;
        let access = Access {
            url: cluster.to_owned(),
            user: options.find("hdfs.proxyUser").filter(|user| !user.is_empty()).map(str::to_owned),
            principal: principal(options)?,
            keytab: keytab(options)?,
            call_timeout: (!timeout.is_zero()).then_some(timeout),
        };
        let client = Client::open(&access).map_err(|error| options.refuse("hdfs.path", error))?;
        Ok(Arc::new(ClusterFiles::new(client)))
    }
}

// === helpers ===

/// As whom the cluster is asked; `_HOST` stands for this host's full name.
fn principal(options: &Options) -> Result<Option<String>> {
    let Some(name) = options.find("hdfs.kerberosPrincipal").filter(|name| !name.is_empty()) else { return Ok(None) };
    if options.find("hdfs.kerberosKeytab").is_none_or(str::is_empty) {
        return Err(
            options.refuse("hdfs.kerberosPrincipal", "expected hdfs.kerberosKeytab beside it, the file with its key")
        );
    }
    if !name.contains("_HOST") {
        return Ok(Some(name.to_owned()));
    }
    let host = LocalHost::look_up().map_err(|error| options.refuse("hdfs.kerberosPrincipal", error))?;
    Ok(Some(name.replace("_HOST", &host.canonical_name().to_lowercase())))
}

/// Where its key is; a file that can be read.
fn keytab(options: &Options) -> Result<Option<String>> {
    let Some(path) = options.find("hdfs.kerberosKeytab").filter(|path| !path.is_empty()) else { return Ok(None) };
    if options.find("hdfs.kerberosPrincipal").is_none_or(str::is_empty) {
        return Err(
            options.refuse("hdfs.kerberosKeytab", "expected hdfs.kerberosPrincipal beside it, whose key it holds")
        );
    }
    if let Err(error) = std::fs::File::open(path) {
        return Err(options
            .refuse("hdfs.kerberosKeytab", format_args!("expected a file that can be read, got {path:?}: {error}")));
    }
    Ok(Some(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_parted_from_their_paths() {
        let parts = |text| Location::parse(text).map(|location| (location.cluster, location.path));
        assert_eq!(parts("hdfs://nn:8020/a/%Y"), Ok((Some("hdfs://nn:8020"), "/a/%Y")));
        assert_eq!(parts("HDFS://name/a"), Ok((Some("HDFS://name"), "/a")));
        assert_eq!(parts("hdfs:///a:b"), Ok((Some("hdfs://"), "/a:b")));
        assert_eq!(parts("hdfs:/a"), Ok((Some("hdfs:"), "/a")));
        assert_eq!(parts("file:///a"), Ok((None, "/a")));
        assert_eq!(parts("/a/b:c"), Ok((None, "/a/b:c")));
    }

    #[test]
    fn events_choose_neither_the_cluster_nor_its_root() {
        for text in ["hdfs://nn", "hdfs://nn/", "hdfs://nn/%Y", "hdfs://%{host}/a", "hdfs:a", "hdfs:", "s3a://b/a"] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }
}
