//! A shell completes our words.

use crate::support::Place;

#[test]
fn bash_takes_its_completions_and_knows_every_command() {
    let place = Place::new();
    place.write("completions.bash", &place.tasker(&["completions", "bash"]).with(0).stdout);
    // as a shell does: two words, and the third is begun
    let script = "source completions.bash; complete -p tasker; COMP_WORDS=(tasker task wa) COMP_CWORD=2; _tasker tasker wa task; echo \"${COMPREPLY[@]}\"";
    let told = place.paste(&format!("bash -c '{script}'")).with(0);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[0].contains("-F _tasker") && lines[1] == "watch", "{told:#?}");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(place.tasker(&["completions", shell]).with(0).stdout.contains("workflow"), "{shell}");
    }
    place.tasker(&["completions", "tcsh"]).with(2);
}
