//! Folders and commands that make it hard: very many files, files that change or vanish on their way, a full disk, output that is closed.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::mounts;
use support::tool::{Place, is_root, skip};

use super::Project;

/// One more than travel without a word.
const MANY: usize = 100_001;

#[test]
fn a_hundred_thousand_files_travel_when_somebody_says_so() {
    let project = Project::new();
    for folder in 0..MANY.div_ceil(1000) {
        let folder = project.folder.join(folder.to_string());
        fs::create_dir(&folder).unwrap();
        let left = MANY - (fs::read_dir(&project.folder).unwrap().count() - 1) * 1000;
        for file in 0..left.min(1000) {
            fs::File::create(folder.join(file.to_string())).unwrap();
        }
    }
    project.run(&["--", "true"]).expect(125).tells(&["100001 files", "`--yes` sends them"]);
    let counted = project.run(&["--yes", "--shell", "find . -type f | wc -l"]).expect(0);
    assert_eq!(counted.text().trim(), MANY.to_string());
    project.place.assert_clean();
}

#[test]
fn a_file_that_changes_or_vanishes_on_its_way_is_named_and_nothing_is_left() {
    let project = Project::with(&[("gone", "x"), ("stays", "x")]);
    let running = project.start(&["--", "true"]);
    running.wait_for("Booting");
    fs::remove_file(project.folder.join("gone")).unwrap();
    running.end().expect(125).tells(&["gone", "seen gone"]);
    let grows = project.folder.join("grows");
    fs::write(&grows, vec![7; 64 << 20]).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = fs::File::options().append(true).open(&grows).unwrap();
            while !over.load(Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let done = project.run(&["--", "true"]);
        over.store(true, Ordering::Relaxed);
        done.expect(125).tells(&["grows", "seen gone"]);
    });
    project.place.assert_clean();
}

#[test]
fn what_is_no_file_stays_here() {
    let project = Project::with(&[("a", "x")]);
    let _socket = UnixListener::bind(project.folder.join("socket")).unwrap();
    super::run_here(&project.folder, &["mkfifo", "pipe"]);
    assert_eq!(project.run(&["--", "ls"]).expect(0).text(), "a\n");
    project.place.assert_clean();
}

#[test]
fn a_full_disk_of_the_machine_is_told_and_nothing_is_left() {
    if !is_root() {
        return skip("an ordinary user's machine does not come up in a namespace that the user made");
    }
    let place = Place::small();
    let images = fs::read_link(place.state.join("images")).unwrap();
    let script = format!(
        r#"
        mount -t tmpfs -o size=24m,mode=0700 none "$S"
        ln -s '{}' "$S/images"
        mkdir "$S/../project" && cd "$S/../project"
        dd if=/dev/urandom of=big bs=1M count=40 2>/dev/null
        code=0; a run --image linux-dev -- true 2>said || code=$?
        cat said; test $code = 125; grep -F 'No space left' said; grep -F 'seen gone' said
        rm big
        code=0; a run --image linux-dev -- dd if=/dev/zero of=big bs=1M count=40 2>said || code=$?
        cat said; test $code = 1; grep -F 'No space left' said; grep -F 'seen gone' said
        a audit
        "#,
        images.display()
    );
    mounts::script(&place, &script).map(|done| done.expect(0));
}

#[test]
fn a_command_that_wants_a_terminal_or_closes_its_output_comes_to_its_own_end() {
    let project = Project::new();
    // It has none, and is not kept waiting for one.
    let done = project.shell("test ! -t 0 && test ! -t 1 && ! read -r x </dev/tty && ! read -r x && exit 9").expect(9);
    done.tells(&["/dev/tty"]);
    let done = project.shell("echo before; exec >&- 2>&- <&-; sleep 1; touch made; exit 7").expect(7);
    assert_eq!(done.text(), "before\n");
    let kept = project.run(&["--artifact", "made", "--shell", "exec >&- 2>&-; sleep 1; touch made"]).expect(0);
    kept.tells(&["1 artifact"]);
    project.place.assert_clean();
}
