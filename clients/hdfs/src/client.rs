//! The name space of a cluster: what files there are, and how they are called.

use std::io::{Error as IoError, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hdfs_native::{ClientBuilder, HdfsError, WriteOptions};
use millstream_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};

use crate::file::File;

/// Which cluster, as whom, and how patiently.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// `hdfs://host:port`, `hdfs://name` for a name service or a host, `hdfs://` for the configured default.
    pub url: String,
    /// As whom files are written; the user of this process, or of its ticket, unless given.
    pub user: Option<String>,
    /// Whose Kerberos ticket is asked for; that of the process unless given.
    pub principal: Option<String>,
    /// A file with its key.
    pub keytab: Option<String>,
    /// How long one call may take; None for as long as it takes.
    pub call_timeout: Option<Duration>,
}

/// A connection to the NameNodes of one cluster, opened when it is first needed. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    native: hdfs_native::Client,
    /// Renews leases and feeds DataNodes also while nobody calls. Taken only when dropped.
    runtime: Option<Runtime>,
    /// Without a slash at its end.
    url: String,
    call_timeout: Option<Duration>,
}

/// Where NameNodes listen unless told otherwise.
const DEFAULT_PORT: u16 = 8020;

// === impl Client ===

impl Client {
    /// Reads the configuration; contacts nobody yet.
    ///
    /// # Errors
    /// `Io`, when `access` names no cluster, or the configuration cannot be read.
    pub fn open(access: &Access) -> Result<Self> {
        let failed = |error| Error::io("open", &access.url, io_error(error));
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("hdfs client").enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("start a thread for", &access.url, error))?;
        let url = access.url.trim_end_matches('/').to_owned();
        let build = |url: String| {
            let mut builder = ClientBuilder::new().with_url(url).with_io_runtime(runtime.handle().clone());
            if let Some(user) = &access.user {
                builder = builder.with_user(user);
            }
            if let Some(principal) = &access.principal {
                builder = builder.with_kerberos_principal(principal);
            }
            if let Some(keytab) = &access.keytab {
                builder = builder.with_kerberos_keytab(keytab);
            }
            builder.build()
        };
        // `hdfs:` alone has to become a URL without a host, for the default to be taken.
        let native = match build(if url == "hdfs:" { "hdfs:///".to_owned() } else { url.clone() }) {
            // No name service is called so: it is a host, as Hadoop takes it.
            Err(HdfsError::InvalidArgument(_)) if url != "hdfs:" => build(format!("{url}:{DEFAULT_PORT}")),
            built => built,
        };
        let native = native.map_err(failed);
        let shared = |native| Shared { native, runtime: Some(runtime), url, call_timeout: access.call_timeout };
        native.map(|native| Self { shared: Arc::new(shared(native)) })
    }

    /// Makes a new file for writing, and the directories above it.
    ///
    /// # Errors
    /// Among others `Io` with `AlreadyExists`, when there is one.
    pub fn create(&self, path: &str) -> Result<File> {
        let options = WriteOptions::default();
        let writer = self.call("create", path, self.shared.native.create(path, &options))?;
        Ok(File::new(self.clone(), path, writer))
    }

    /// Whether there is a file or a directory of that name.
    pub fn exists(&self, path: &str) -> Result<bool> {
        match self.call("look for", path, self.shared.native.get_file_info(path)) {
            Ok(_) => Ok(true),
            Err(Error::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a file another name; never that of another file.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.call("rename", from, self.shared.native.rename(from, to, false))
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, path: &str) -> Result<()> {
        // Whether it was there is all that it tells.
        self.call("remove", path, self.shared.native.delete(path, false)).map(|_| ())
    }

    /// Has the NameNode take the file from whoever writes it and close it. `false`: that is under way.
    pub(crate) fn recover(&self, path: &str) -> Result<bool> {
        self.call("recover", path, self.shared.native.recover_lease(path))
    }

    /// Waits for a call, at most as long as one may take.
    ///
    /// # Cancel safety
    /// Whether one that took too long is done some time is not known.
    pub(crate) fn call<T>(
        &self,
        action: &'static str,
        path: &str,
        call: impl Future<Output = hdfs_native::Result<T>>,
    ) -> Result<T> {
        let runtime = self.shared.runtime.as_ref().expect("taken only when dropped");
        let outcome = runtime.block_on(async {
            match self.shared.call_timeout {
                None => call.await.map_err(io_error),
                Some(limit) => match tokio::time::timeout(limit, call).await {
                    Ok(outcome) => outcome.map_err(io_error),
                    Err(_) => {
                        let problem = format!("no answer within callTimeout = {} ms", limit.as_millis());
                        Err(IoError::new(ErrorKind::TimedOut, problem))
                    }
                },
            }
        });
        outcome.map_err(|error| Error::io(action, self.place(path), error))
    }

    /// The path with its cluster, for people.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        format!("{}{path}", self.shared.url).into()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nothing is waited for: this may be a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What went wrong, in one line: Java's stack is not part of it.
fn io_error(error: HdfsError) -> IoError {
    let kind = match &error {
        HdfsError::IOError(error) => error.kind(),
        HdfsError::AlreadyExists(_) => ErrorKind::AlreadyExists,
        HdfsError::FileNotFound(_) => ErrorKind::NotFound,
        HdfsError::UnsupportedFeature(_) => ErrorKind::Unsupported,
        HdfsError::RPCError(class, _) if class == "java.io.FileNotFoundException" => ErrorKind::NotFound,
        _ => ErrorKind::Other,
    };
    let text = error.to_string();
    IoError::new(kind, text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::TcpListener;

    use super::*;

    fn access(url: &str) -> Access {
        Access { url: url.into(), call_timeout: Some(Duration::from_millis(50)), ..Access::default() }
    }

    #[test]
    fn a_name_node_that_does_not_answer_is_waited_for_no_longer_than_a_call_may_take() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("hdfs://{}", silent.local_addr().unwrap());
        let client = Client::open(&access(&url)).unwrap();
        let error = client.exists("/a").unwrap_err();
        assert_eq!(error.to_string(), format!("look for {url}/a: no answer within callTimeout = 50 ms"));
        let error = client.create("/a").unwrap_err();
        assert_eq!(error.to_string(), format!("create {url}/a: no answer within callTimeout = 50 ms"));
    }

    #[test]
    fn a_host_without_a_port_is_a_name_node_at_hadoops_port() {
        assert!(Client::open(&access("hdfs://localhost")).is_ok());
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        assert!(Client::open(&access("s3a://bucket")).is_err());
        assert!(Client::open(&access("hdfs://a b")).is_err());
    }

    #[test]
    fn errors_of_java_are_one_line_of_their_kind() {
        let error = HdfsError::RPCError("java.io.FileNotFoundException".into(), "File is not there: /a\n\tat X".into());
        let error = io_error(error);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "RPC error: java.io.FileNotFoundException File is not there: /a");
    }
}
