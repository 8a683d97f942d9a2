//! A client of HDFS, for threads that may wait: new files, written so that what returned survives.
//!
//! The protocols are those of the crate `hdfs-native`. Here are the limits of time, errors with a place, and the way out
//! for a file whose writing failed.
//!
//! # Delivery
//! [`File::append`] returns once every DataNode of the block has the bytes on its disk and the NameNode knows how many
//! there are (hsync). One that fails leaves a file of which nobody knows how much arrived, and HDFS has no way to take it
//! back through this client: the file gets no more bytes, and [`File::close`] asks the NameNode to recover and close it.
//! That keeps all that was acknowledged.
//!
//! # Configuration
//! `core-site.xml` and `hdfs-site.xml` of `HADOOP_CONF_DIR`, or of `HADOOP_HOME/etc/hadoop`: name services and their
//! NameNodes, security. Kerberos needs the system's `libgssapi_krb5.so.2`, which is looked for when it is used.
//!
//! # Source
//! `org.apache.hadoop.hdfs.protocol.ClientProtocol`, `DFSOutputStream` (Hadoop 3.4).

mod client;
mod file;

pub use client::{Access, Client};
pub use file::File;
