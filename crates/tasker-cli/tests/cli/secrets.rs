//! Secrets: given to handlers, and kept nowhere.

use crate::support::Place;

const SHOW: &str = r#"
name: show
version: 1.0.0
steps:
  - name: told
    handler: command
    with: { program: sh, args: [-c, "printf '%s' \"$KEY $FILE\"; test -z \"$TASKER_SECRETS$TASKER_SECRET_API_KEY\"; test \"$KEY\" = k3y-value"], env: { KEY: "{{ secrets.API_KEY }}", FILE: "{{ secrets.FROM_FILE }}" } }
  - name: broken
    handler: command
    retry: { max_attempts: 1 }
    with: { program: sh, args: [-c, "echo \"the key is $KEY\" >&2; exit 1"], env: { KEY: "{{ secrets.API_KEY }}" } }
"#;

#[test]
fn a_secret_is_given_to_a_step_and_stands_in_no_result_error_or_row() {
    let place = Place::new();
    place.write("show.yaml", SHOW);
    std::fs::create_dir(place.path("secrets")).unwrap();
    place.write("secrets/FROM_FILE", "file-value\n");
    let ended = place
        .with_env(
            &["run", "show.yaml", "--json"],
            &[("TASKER_SECRET_API_KEY", "k3y-value"), ("TASKER_SECRETS", "secrets")],
        )
        .with(1);
    let task = ended.json();
    assert_eq!(task["steps"][0]["result"], "[secret] [secret]");
    let everything = format!("{}{}", ended.stdout, ended.stderr);
    assert!(everything.contains("the key is [secret]"), "{everything}");
    assert!(!everything.contains("k3y-value") && !everything.contains("file-value"), "{everything}");

    // whoever has none says where it would be
    let ended = place.tasker(&["run", "show.yaml"]).with(1);
    assert!(ended.stderr.contains("with.env.KEY: there is no secret `API_KEY`"), "{ended:#?}");
    assert!(ended.stderr.contains("TASKER_SECRET_API_KEY"), "{ended:#?}");
}

#[test]
fn what_is_kept_cannot_be_made_of_a_secret() {
    let place = Place::new();
    place.write("kept.yaml", "name: kept\nversion: 1.0.0\nsteps: [{ name: a, handler: transform, with: { value: \"{{ secrets.API_KEY }}\" } }]\n");
    let refused = place.tasker(&["check", "kept.yaml"]).with(2);
    assert!(refused.stdout.contains("`secrets` are for `http`, `command` and functions"), "{refused:#?}");
}
