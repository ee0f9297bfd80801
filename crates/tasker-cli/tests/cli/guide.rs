//! The command lines in the guide and in the README are ones that the binary knows.

use std::{fs, path::PathBuf};

use crate::support::Place;

/// Lines of the shell blocks that begin with `tasker`.
fn lines() -> Vec<(String, String)> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../.."].iter().collect();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root.join("docs/src")).unwrap().map(|file| file.unwrap().path()).collect();
    files.push(root.join("README.md"));
    files.extend(["etl", "prices", "psql"].map(|name| root.join(format!("examples/{name}/README.md"))));
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for block in text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let commands = block.lines().filter(|line| line.starts_with("tasker "));
            lines.extend(commands.map(|line| (file.display().to_string(), line.to_string())));
        }
    }
    assert!(lines.len() > 15, "{lines:?}");
    lines
}

#[test]
fn every_command_and_option_exists() {
    let place = Place::new();
    for (file, line) in lines() {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().skip(1).collect();
        let depth = if ["task", "workflow", "key"].contains(&words[0]) { 2 } else { 1 };
        let mut asked: Vec<&str> = words[..depth].to_vec();
        asked.push("--help");
        let help = place.tasker(&asked);
        assert_eq!(help.code, Some(0), "{file}: {line}\n{}", help.stderr);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.stdout.contains(option), "{file}: {line}: there is no {option}");
        }
    }
}
