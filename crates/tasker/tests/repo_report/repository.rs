//! Repositories to report on.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A git repository in a folder of its own.
pub struct Repository(TempDir);

impl Repository {
    pub fn new() -> Repository {
        let repository = Repository(TempDir::new().unwrap());
        repository.git(["init", "-q", "-b", "main"]);
        repository
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits these files and all that lies about.
    pub fn commit(&self, author: &str, date: &str, files: &[(&str, &str)]) {
        for (path, text) in files {
            self.write(path, text);
        }
        self.git(["add", "--all"]);
        let author = format!("{} <a@example.org>", author.replace(['<', '>'], ""));
        self.git(["commit", "-q", "--author", &author, "--date", date, "-m", "a change"]);
    }

    pub fn git<const N: usize>(&self, arguments: [&str; N]) {
        git(self.path(), arguments);
    }

    pub fn output<const N: usize>(&self, arguments: [&str; N]) -> String {
        git(self.path(), arguments)
    }
}

pub fn git<const N: usize>(folder: &Path, arguments: [&str; N]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ann", "-c", "user.email=a@example.org", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// A folder in which only these programs are found.
pub fn tools(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        symlink(which(name).unwrap_or_else(|| panic!("{name} is not installed")), folder.path().join(name)).unwrap();
    }
    folder
}

pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
