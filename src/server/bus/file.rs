//! nodes.conf on disk: written whole beside the old one and put in its place, and locked by the process that uses it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::base::os;
use crate::cluster::nodes_conf::{self, Stored};
use crate::commands::persistence::save::sync_directory;
use crate::config::Config;

/// The file, locked.
pub struct NodesFile {
    path: PathBuf,
    /// The lock lives as long as the open file.
    locked: File,
}

/// Locks an open file for this process.
fn lock(file: &File, path: &Path) -> Result<(), String> {
    file.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => format!(
            "Sorry, the cluster configuration file {} is already used by a different Cluster node. Please make sure that \
             different nodes use different cluster configuration files.",
            path.display()
        ),
        std::fs::TryLockError::Error(e) => format!("Impossible to lock {}: {e}", path.display()),
    })
}

impl NodesFile {
    /// Opens and locks the file, which is made if it is not there, and reads it: what it remembers, if anything.
    pub fn open(config: &Config) -> Result<(NodesFile, Option<Stored>), String> {
        let path = os::path(config.cluster_config_file());
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|e| format!("Can't open {}: {e}", path.display()))?;
        lock(&file, &path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| format!("Can't read {}: {e}", path.display()))?;
        let stored = nodes_conf::parse(&text, false)
            .map_err(|e| format!("Unrecoverable error: corrupted cluster config file {}: {e}", path.display()))?;
        Ok((NodesFile { path, locked: file }, stored))
    }

    /// Puts a new text in the place of the old; `sync`: it is on disk when this returns.
    pub fn save(&mut self, text: &str, sync: bool) -> Result<(), String> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp-{}", std::process::id()));
        let temporary = self.path.with_file_name(name);
        let failed = |e: std::io::Error| format!("{}: {e}", temporary.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary).map_err(failed)?;
        // Before it has the name, so that there is no moment without a lock.
        lock(&file, &temporary)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        if sync {
            file.sync_all().map_err(failed)?;
        }
        std::fs::rename(&temporary, &self.path).map_err(|e| format!("{}: {e}", self.path.display()))?;
        if sync {
            sync_directory(&self.path).map_err(|e| format!("{}: {e}", self.path.display()))?;
        }
        self.locked = file;
        Ok(())
    }
}
