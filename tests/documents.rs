//! Sentences of the documents that can be held against the code, or against each other.

use model::exit_code;
use model::filesystem::Filesystem;
use model::machine::ProviderKind;
use model::resource::{ResourceKind, ResourceState};

/// A document in one line, so that where its lines end does not matter.
fn document(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no `{start}`"));
    let (part, _) = rest.split_once(end).unwrap_or_else(|| panic!("no `{end}` behind `{start}`"));
    part
}

#[test]
fn readme_and_errors_say_in_the_same_words_what_green_means() {
    let (readme, errors) = (document(include_str!("../README.md")), document(include_str!("../docs/errors.md")));
    let said = between(&errors, "## What green means ", "controls what they report.");
    assert!(said.starts_with("**Green** (`PASSED`, exit code 0) means ") && said.contains("honest sources"), "{said}");
    assert!(readme.contains(said), "the README says it in other words");
}

#[test]
fn readme_and_errors_list_every_exit_code_and_no_document_names_another() {
    let (readme, errors) = (document(include_str!("../README.md")), include_str!("../docs/errors.md"));
    let all = exit_code::ALL.map(|(code, words)| format!("{code} {words}"));
    assert_eq!(between(&readme, "Exit codes: ", "."), all.join(", "));
    let table = between(errors, "|---|---|---|\n", "\n\n");
    let rows: Vec<&str> = table.lines().map(|line| between(line, "| ", " |")).collect();
    assert_eq!(rows, exit_code::ALL.map(|(code, _)| code.to_string()));
    let command = include_str!("../src/automation/cli.rs").replace("///", "");
    assert!(all.iter().all(|said| document(&command).contains(said.as_str())), "the command lists others");
    let documents = [
        include_str!("../README.md"),
        errors,
        include_str!("../docs/aws.md"),
        include_str!("../docs/images.md"),
        include_str!("../docs/json.md"),
        include_str!("../docs/remote-machine.md"),
        include_str!("../docs/state.md"),
    ];
    for text in documents.map(document) {
        for code in text.split("exit code ").skip(1) {
            let digits: String = code.chars().take_while(char::is_ascii_digit).collect();
            let known = digits.is_empty() || exit_code::ALL.iter().any(|(code, _)| code.to_string() == digits);
            assert!(known, "exit code {digits}");
        }
    }
}

#[test]
fn the_json_contract_names_every_kind_and_state_of_a_resource() {
    let json = document(include_str!("../docs/json.md"));
    let kinds = between(&json, "## finding ", "`standing` is");
    for kind in ResourceKind::ALL {
        assert!(kinds.contains(&format!("`{}`", kind.name())), "{}", kind.name());
    }
    let states = between(&json, "## certificate ", "`remaining` are");
    for state in [ResourceState::Planned, ResourceState::Present, ResourceState::Kept, ResourceState::Gone] {
        let name = serde_json::to_value(state).unwrap();
        assert!(states.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}

#[test]
fn the_documents_name_every_provider() {
    let (state, words) = (include_str!("../docs/state.md"), document(include_str!("../docs/contributing.md")));
    let settings = between(state, "provider = ", "\n");
    let quoted: Vec<&str> = settings.split('"').skip(1).step_by(2).collect();
    assert_eq!(quoted, ProviderKind::CHOICE_NAMES);
    let provider = between(&words, "| provider |", " |");
    let named: Vec<&str> = provider.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, ProviderKind::ALL.map(ProviderKind::name));
}

#[test]
fn the_settings_and_the_script_that_makes_them_name_every_file_system() {
    let settings = between(include_str!("../docs/state.md"), "filesystem = \"default\"", "\n");
    assert_eq!(settings.trim_start_matches([' ', '#']), Filesystem::NAMES.join(", "));
    let script = include_str!("../remote/mercurial/prepare-work.sh");
    let usage = between(script, "usage: prepare-work.sh ", " [DEVICE]");
    assert_eq!(usage, Filesystem::NAMES.join("|"));
    let taken = script.lines().find(|line| line.trim_start().starts_with("default | ")).unwrap();
    let taken: Vec<&str> = taken.trim().trim_end_matches(") ;;").split(" | ").collect();
    assert!(Filesystem::NAMES.iter().all(|name| taken.contains(name)) && taken.len() == Filesystem::NAMES.len());
}

#[test]
fn the_json_contract_names_every_field_of_a_machine_and_of_results() {
    let json = document(include_str!("../docs/json.md"));
    let machine = between(&json, "## machine ", "## what came of a command");
    let fields = [
        "id", "provider", "platform", "run", "owner", "image", "address", "user", "identity", "host_key", "volume",
        "hardware",
    ];
    for field in fields.iter().chain(&["created_at", "expires_at", "kept"]) {
        assert!(machine.contains(field), "{field}");
    }
    let results = between(&json, "## results ", "## run ");
    let subject = serde_json::to_value(model::subject::TestSubject::default()).unwrap();
    for field in subject.as_object().unwrap().keys().map(String::as_str).chain(["gap", "caveats", "verdict", "counts"])
    {
        assert!(results.contains(&format!("`{field}`")), "{field}");
    }
}

/// What the predecessor of this tool had: `(command, options)`.
const ORIGINAL: [(&str, &str); 13] = [
    ("bootstrap-linux-dev", "--distros --parallel"),
    ("bootstrap-windows-dev", "--base-image-name"),
    ("build-inno", "--arch --revision --version --base-image-name"),
    ("build-wix", "--arch --revision --version --base-image-name"),
    ("build-windows-wheel", "--python-version --arch --revision --base-image-name"),
    ("build-all-windows-packages", "--revision --version --base-image-name"),
    ("run-tests-linux", "--distro --filesystem --instance-type --python-version"),
    ("run-tests-windows", "--instance-type --python-version --arch --test-flags --base-image-name"),
    ("publish-windows-artifacts", "--no-pypi --no-mercurial-scm-org --ssh-username"),
    ("try", "--rev"),
    ("terminate-ec2-instances", ""),
    ("purge-ec2-resources", ""),
    ("", "--state-path --aws-region"),
];

/// The words between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What the binary prints.
fn said(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    let done = std::process::Command::new(support::tool::binary()).args(&words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The options that `automation COMMAND` takes: those that its own page lists, and those that it folds.
fn options(command: &str) -> std::collections::BTreeSet<String> {
    let help = [said(&[command, "--help"]), said(&["help", "options"])].concat();
    let listed = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words =
        listed.flat_map(|line| line.split([' ', ',', '=']).filter(|word| word.starts_with("--")).map(str::to_owned));
    words.collect()
}

#[test]
fn the_table_of_the_predecessors_commands_names_all_of_them_and_each_is_there() {
    let text = include_str!("../docs/windows.md");
    let table = between(text, "| command | options | what differs |\n|---|---|---|\n", "\n\n");
    let mut rows = Vec::new();
    for row in table.lines() {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let commands = match quoted(cells[0]) {
            none if none.is_empty() => vec![""],
            commands => commands,
        };
        for command in commands {
            rows.push((command, quoted(cells[1])));
        }
    }
    for (command, expected) in ORIGINAL {
        let row = rows.iter().find(|(name, _)| *name == command).unwrap_or_else(|| panic!("no row of `{command}`"));
        assert_eq!(row.1, expected.split_whitespace().collect::<Vec<_>>(), "{command}");
        let there = options(command);
        for option in &row.1 {
            assert!(there.contains(*option), "`{command}` has no {option}: {there:?}");
        }
    }
    assert_eq!(rows.len(), ORIGINAL.len(), "{rows:?}");
}

#[test]
fn what_is_done_on_a_real_account_is_told_without_consent_and_every_command_of_it_is_there() {
    let script = support::root().join("tests/windows-on-ec2");
    // Whatever ran it would be noticed.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("automation");
    std::fs::write(&program, "#!/bin/sh\n: >\"$0.ran\"\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(&script);
        command.args(words).current_dir(folder.path()).env("AUTOMATION", &program).output().unwrap()
    };
    let done = run(&["--source", "/nowhere"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("Nothing was done: --yes-spend-money does it."), "{done:?}");
    assert!(!folder.path().join("automation.ran").exists(), "it ran without consent");
    let begin = format!("$ {} ", program.display());
    let steps: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(&begin)).collect();
    let names: Vec<&str> = steps.iter().map(|step| step.split(' ').next().unwrap()).collect();
    let expected =
        ["doctor", "bootstrap-windows-dev", "run-tests-windows", "build-windows-wheel", "build-windows-installer"];
    assert_eq!(names[..5], expected, "{said}");
    assert_eq!(names[5..], ["terminate-ec2-instances", "purge-ec2-resources", "audit"], "{said}");
    for step in steps {
        let mut words = step.split(' ');
        let there = options(words.next().unwrap());
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(there.contains(option), "`{step}`: there is no {option}");
        }
    }
    let kept = run(&["--keep-image"]);
    assert!(!String::from_utf8_lossy(&kept.stdout).contains("purge-ec2-resources"), "{kept:?}");
    assert_eq!(run(&["--yes"]).status.code(), Some(2));
    assert!(!folder.path().join("automation.ran").exists());
}
