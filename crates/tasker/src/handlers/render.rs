//! The handler `render` writes a file: its `template`, rendered over the input and the results of steps.
//!
//! The file at `path` is there whole or not at all: the text goes into a new file in the same folder, which takes
//! the path's place when it is safely on the disk. Values are escaped as the path's ending asks (`.html`, `.svg`, ..).

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::json;

use super::{Attempt, BoxFuture, Handler, Outcome, StepError, Text, arguments_of, with_invalid};
use crate::template;

/// Writes files; see the module's text.
pub(super) struct Render {
    /// A relative `path` is relative to it.
    pub base_dir: Arc<Path>,
    /// Whether a `path` may lead out of the base folder.
    pub anywhere: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    template: String,
    path: Text,
}

impl Handler for Render {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        let (base_dir, anywhere) = (self.base_dir.clone(), self.anywhere);
        Box::pin(async move {
            let render = move || {
                let with: With = arguments_of("render", &attempt.with)?;
                let name = target(&with.path.0, &base_dir, anywhere)?;
                let text = template::render_text(&with.path.0, &with.template, &attempt.scope())?;
                let path = write(&name, text.as_bytes()).map_err(|error| {
                    StepError::new(format!("{} could not be written: {error}", name.display())).kind("file_not_written")
                })?;
                Outcome::complete(&json!({ "path": path.to_string_lossy(), "bytes": text.len() }))
            };
            let rendered = tokio::task::spawn_blocking(render).await;
            rendered.map_err(|panic| StepError::new(format!("rendering: {panic}")))?
        })
    }
}

/// The file that `path` names.
fn target(path: &str, base_dir: &Path, anywhere: bool) -> Result<PathBuf, StepError> {
    let target = base_dir.join(path);
    if path.ends_with('/') || target.file_name().is_none() || target == base_dir {
        return Err(with_invalid("render", format!("`path`: `{path}` does not name a file")));
    }
    if anywhere || stays_below(base_dir, Path::new(path)) {
        return Ok(target);
    }
    let message = format!("`{path}` leads out of {}, below which this worker writes", base_dir.display());
    Err(StepError::fatal(message).kind("path_not_allowed"))
}

/// Whether a path leads neither by `..` nor by a symbolic link out of the folder.
fn stays_below(folder: &Path, path: &Path) -> bool {
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let parent = folder.join(path).parent().map(Path::to_owned).unwrap_or_default();
    let existing = parent.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    is_plain && existing.zip(folder.canonicalize().ok()).is_some_and(|(existing, folder)| existing.starts_with(folder))
}

/// Writes a file whole or not at all, and gives its absolute path.
fn write(target: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(parent)?;
    let parent = parent.canonicalize()?;
    // What a new file may be read by, before the process's umask.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".tasker-").permissions(permissions).tempfile_in(&parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let path = parent.join(name);
    file.persist(&path)?;
    File::open(&parent)?.sync_all()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::handlers::testing::{attempt, told};

    const TEMPLATE: &str = "<p>{{ input.who }} {{ steps.count.result }}</p>\n";

    async fn render(folder: &Path, with: Value) -> String {
        told(Render { base_dir: folder.into(), anywhere: true }.run(attempt(with)).await)
    }

    #[tokio::test]
    async fn a_file_is_written_into_new_folders_and_over_an_old_one() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("new/er/page.html");
        for template in ["old", TEMPLATE] {
            let result = render(folder.path(), json!({ "template": template, "path": "new/er/page.html" })).await;
            let path = file.canonicalize().unwrap();
            assert_eq!(result, json!({ "path": path, "bytes": fs::read(&file).unwrap().len() }).to_string());
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "<p>&lt;Ann&gt; 7</p>\n");
        assert_ne!(fs::metadata(&file).unwrap().permissions().mode() & 0o600, 0);
        assert_eq!(fs::read_dir(folder.path().join("new/er")).unwrap().count(), 1, "no temporary file is left");
    }

    #[tokio::test]
    async fn values_are_escaped_as_the_ending_asks() {
        let folder = TempDir::new().unwrap();
        for (path, text) in [("a.svg", "<p>&lt;Ann&gt; 7</p>\n"), ("a.md", "<p><Ann> 7</p>\n")] {
            render(folder.path(), json!({ "template": TEMPLATE, "path": path })).await;
            assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn what_fails_leaves_the_old_file() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("page.html"), "old").unwrap();
        let error = render(folder.path(), json!({ "template": "{{ input.whom }}", "path": "page.html" })).await;
        assert!(error.starts_with("template_error (fatal): page.html: "), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("page.html")).unwrap(), "old");
        fs::create_dir(folder.path().join("folder")).unwrap();
        for path in ["folder", "page.html/below.html"] {
            let error = render(folder.path(), json!({ "template": "new", "path": path })).await;
            assert!(error.starts_with("file_not_written: "), "{error}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[tokio::test]
    async fn a_path_names_a_file() {
        let folder = TempDir::new().unwrap();
        for path in ["", ".", "..", "/", "a/", "a/.."] {
            let error = render(folder.path(), json!({ "template": "", "path": path })).await;
            assert!(error.starts_with("with_invalid (fatal): "), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn without_commands_nothing_is_written_outside_of_the_base_folder() {
        let outside = TempDir::new().unwrap();
        let folder = TempDir::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let handler = Render { base_dir: folder.path().into(), anywhere: false };
        let absolute = outside.path().join("file");
        for path in ["../file", "a/../../file", "link/file", "link/new/file", absolute.to_str().unwrap()] {
            let told = told(handler.run(attempt(json!({ "template": "", "path": path }))).await);
            assert!(told.starts_with("path_not_allowed (fatal): "), "{path}: {told}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let told = told(handler.run(attempt(json!({ "template": "", "path": "./new/er/file" }))).await);
        assert!(told.starts_with("{"), "{told}");
    }
}
