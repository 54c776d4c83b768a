//! Baking: layers are kept, a failed bake resumes, a failed machine can be looked at, what is old can be collected.

use serde_json::Value;
use support::images;
use support::tool::{Place, Running, binary, clear, is_root, skip};

const GOOD: &str = "echo fine >/root/good\n";
const BAD: &str = "echo some output\necho the reason of the failure >&2\nexit 9\n";

/// The layers of the image, by name, with when they were made.
fn layers(place: &Place) -> Vec<(String, String)> {
    let shown = place.json(&["image", "show", "linux-dev-debian12", "--json"]);
    let layers = shown["layers"].as_array().unwrap().iter();
    layers.map(|layer| (text(&layer["name"]), text(&layer["created_at"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[test]
fn a_failed_bake_tells_why_and_goes_on_after_its_last_good_step() {
    let mut place = Place::with_steps(&[("good", GOOD), ("bad", BAD)]);
    place.own_images();
    let done = place.run(&["image", "build"]).expect(3);
    let done = done.tells(&["bake step `bad` failed with exit status 9", "the reason of the failure", "some output"]);
    let done = done.tells(&["hint:", "Nothing is left behind", "Trying good (3/4)"]);
    assert_eq!(done.text(), "");
    place.assert_clean();

    place.define(&[("good", GOOD), ("bad", "test \"$(cat /root/good)\" = fine\n")]);
    let done = place.run(&["image", "build", "--json"]).expect(0);
    assert!(!done.stderr.contains("Trying good"), "made again: {}", done.stderr);
    let built = done.json();
    assert_eq!(built["name"], "linux-dev-debian12", "a verb that makes one thing prints it: {built}");
    let first = layers(&place);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["base", "user", "good", "bad"]);
    let again = place.run(&["image", "build"]).expect(0);
    assert!(!again.stderr.contains("Trying") && again.stderr.contains("Nothing was made"), "{}", again.stderr);

    // Changing step 3 makes it and what is above it anew, and nothing below.
    place.define(&[("good", "echo fine >/root/good # changed\n"), ("bad", "test \"$(cat /root/good)\" = fine\n")]);
    place.run(&["image", "build"]).expect(0);
    let second = layers(&place);
    assert_eq!(first[..2], second[..2]);
    assert!(first[2].1 != second[2].1 && first[3].1 != second[3].1, "{first:?} {second:?}");
    collected(&place, &built);
    place.assert_clean();
}

#[test]
fn scripts_that_were_saved_on_windows_run_as_any_others() {
    let windows = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let (bad, good) = ("#!/bin/bash\nset -e\nfalse\ntouch /root/made\n", "#!/bin/bash\nset -e\ntouch /root/made\n");
    let mut place = Place::with_steps(&[("saved", &windows(bad))]);
    place.own_images();
    place.run(&["image", "build"]).expect(3).tells(&["bake step `saved` failed with exit status 1"]);
    place.define(&[("saved", &windows(good))]);
    let file = place.path().join("definitions/linux-dev/image.toml");
    let definition = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, windows(&definition)).unwrap();
    let made = place.json(&["image", "build", "--json"]);
    let id = place.up(&[]);
    place.exec(&id, &["sudo", "ls", "/root"]).expect(0).text().lines().for_each(|name| assert_eq!(name, "made"));
    place.run(&["machine", "down", &id]).expect(0);
    // Saved on Unix it is the same image.
    place.define(&[("saved", good)]);
    assert_eq!(place.json(&["image", "build", "--json"])["fingerprint"], made["fingerprint"]);
    place.assert_clean();
}

/// What a definition says of a parameter of its own, for a step that puts what it gets into a file and one for `full` alone.
const FLAVOUR: &str = r#"
[parameters.flavour]
help = "How much is installed"
values = ["small", "full"]
default = "small"
variable = "FLAVOUR"
in-name = true
[distros.debian12.values.flavour.full]
also = ["whole"]
variables = { TOOLS = "gdb strace" }
"#;

#[test]
fn a_machine_boots_any_definition_and_a_step_finds_the_files_that_it_names() {
    let place = Place::with_steps(&[("words", "cp \"$(dirname \"$0\")/words.txt\" /root/words\n")]);
    place.own_images();
    let (folder, other) = (place.path().join("definitions/linux-dev"), place.path().join("definitions/other"));
    std::fs::rename(folder, &other).unwrap();
    let file = other.join("image.toml");
    let mut document: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    document.insert("name".into(), "other".into());
    let steps = document["steps"].as_array_mut().unwrap();
    steps.last_mut().unwrap().as_table_mut().unwrap().insert("files".into(), vec!["words.txt"].into());
    std::fs::write(&file, toml::to_string(&document).unwrap()).unwrap();
    place.run(&["machine", "up", "--image", "other"]).expect(3).tells(&["cannot read", "words.txt"]);
    place.run(&["machine", "up", "--image", "othr"]).expect(2).tells(&["no image definition `othr`", "`other`"]);
    let mut images = Vec::new();
    for words in ["some words\n", "other words\n"] {
        std::fs::write(other.join("words.txt"), words).unwrap();
        // The definition has one distribution, so that it need not be named.
        let id = place.up(&["--image", "other"]);
        assert_eq!(place.exec(&id, &["sudo", "cat", "/root/words"]).expect(0).text(), words);
        images.push(text(&place.json(&["image", "list", "--json"])[0]["fingerprint"]));
        place.run(&["machine", "down", &id]).expect(0);
    }
    assert_ne!(images[0], images[1], "the file shapes the layer");
    place.assert_clean();
}

const KEEP_FLAVOUR: &str = "printf '%s: %s\\n' \"$FLAVOUR\" \"$TOOLS\" >/root/flavour\n";

/// Adds `FLAVOUR` to the place's definition.
fn add_flavour(place: &Place) {
    let file = place.path().join("definitions/linux-dev/image.toml");
    let mut document: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    for step in document["steps"].as_array_mut().unwrap().iter_mut().map(|step| step.as_table_mut().unwrap()) {
        match step["name"].as_str().unwrap() {
            "flavour" => drop(step.insert("env".into(), vec!["FLAVOUR", "TOOLS"].into())),
            "documents" => {
                let full: toml::Table = "flavour = 'full'".parse().unwrap();
                drop(step.insert("if".into(), toml::Value::Table(full)));
            }
            _ => {}
        }
    }
    let more: toml::Table = FLAVOUR.parse().unwrap();
    let own = document["parameters"].as_table_mut().unwrap();
    own.extend(more["parameters"].as_table().unwrap().clone());
    let values = more["distros"]["debian12"]["values"].as_table().unwrap().clone();
    document["distros"]["debian12"]["values"].as_table_mut().unwrap().extend(values);
    std::fs::write(file, toml::to_string(&document).unwrap()).unwrap();
}

#[test]
fn a_definition_of_ones_own_has_parameters_of_its_own_that_its_steps_get() {
    let place = Place::with_steps(&[("flavour", KEEP_FLAVOUR), ("documents", "touch /root/documents\n")]);
    place.own_images();
    add_flavour(&place);
    for (parameter, told) in [
        ("flavour=huge", &["`debian12` has no flavour `huge` (there are: small, full (whole))", "hint:"][..]),
        ("flavor=full", &["no parameter `flavor`", "Did you mean `flavour`?"]),
    ] {
        for command in [&["image", "build"][..], &["machine", "up"], &["bootstrap-linux-dev"], &["run-tests-linux"]] {
            let done = place.run(&[command, &["--parameter", parameter]].concat()).expect(2).tells(told);
            assert_eq!(done.text(), "", "{command:?}");
        }
    }
    assert_eq!(place.json(&["runs", "list", "--json"]), serde_json::json!([]), "a refusal is no run");
    let full = place.json(&["image", "build", "--parameter", "flavour=whole", "--json"]);
    let small = place.json(&["image", "build", "--json"]);
    assert_eq!(
        (text(&full["name"]), text(&small["name"])),
        ("linux-dev-debian12-full".into(), "linux-dev-debian12".into())
    );
    let of = |image: &Value, at: usize| text(&image["layers"][at]["fingerprint"]);
    assert_eq!((of(&full, 0), of(&full, 1)), (of(&small, 0), of(&small, 1)), "what does not ask for it is shared");
    assert_ne!(of(&full, 2), of(&small, 2));
    assert_eq!(place.json(&["image", "gc", "--dry-run", "--json"]), serde_json::json!([]), "both are of today");
    for (further, flavour, documents) in
        [(&["--parameter", "flavour=full"][..], "full: gdb strace\n", 0), (&[], "small: \n", 2)]
    {
        let id = place.up(further);
        assert_eq!(place.exec(&id, &["sudo", "cat", "/root/flavour"]).expect(0).text(), flavour);
        place.exec(&id, &["sudo", "ls", "/root/documents"]).expect(documents);
        place.run(&["machine", "down", &id]).expect(0);
    }
    place.assert_clean();
}

/// The image that no definition makes any more is collected with its two layers, the rest stays.
fn collected(place: &Place, old: &Value) {
    let listed = place.json(&["image", "list", "--json"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[1]["id"], old["id"], "newest first");
    assert!(listed.windows(2).all(|pair| text(&pair[0]["created_at"]) >= text(&pair[1]["created_at"])));
    assert!(listed[0]["bytes"].as_u64().unwrap() > 100 << 20);
    let gone = |arguments: &[&str]| -> Vec<(String, String)> {
        let collected = place.json(arguments);
        collected.as_array().unwrap().iter().map(|item| (text(&item["kind"]), text(&item["fate"]))).collect()
    };
    let dry = gone(&["image", "gc", "--dry-run", "--json"]);
    assert!(dry.iter().all(|(_, fate)| fate == "would be removed"), "{dry:?}");
    let kinds: Vec<&str> = dry.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["image", "layer", "layer"]);
    assert_eq!(place.json(&["image", "list", "--json"]).as_array().unwrap().len(), 2);
    let done = gone(&["image", "gc", "--json"]);
    assert!(done.len() == 3 && done.iter().all(|(_, fate)| fate == "removed"), "{done:?}");
    assert_eq!(gone(&["image", "gc", "--json"]), []);
    assert_eq!(place.json(&["image", "list", "--json"])[0]["id"], listed[0]["id"]);
    assert!(images::cache().join("images/layers").exists());
    let id = place.up(&[]);
    let used = place.run(&["image", "rm", "--yes", "linux-dev-debian12"]).expect(3);
    used.tells(&["in use by machine", &id, "machine down"]);
    let busy = place.run(&["image", "gc", "--all", "--json"]).expect(0).json();
    let stays = busy.as_array().unwrap().iter().filter(|item| text(&item["fate"]).contains("in use")).count();
    assert_eq!(stays, 4, "{busy}");
    place.exec(&id, &["cat", "/root/good"]).expect(1);
    place.exec(&id, &["sudo", "cat", "/root/good"]).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    removed_by_name(place);
}

/// What a listing calls an image is what other commands call it, and what removes it.
fn removed_by_name(place: &Place) {
    let built = place.json(&["image", "build", "linux-dev-debian12", "--json"]);
    let (name, id) = ("linux-dev-debian12", text(&built["id"]));
    assert_eq!(place.json(&["image", "build", &id[..12], "--json"])["id"], built["id"]);
    let of_definition = place.json(&["image", "rm", "linux-dev", "--dry-run", "--json"]);
    assert_eq!(of_definition[0]["id"], built["id"], "that of the usual distribution");
    assert_eq!(place.json(&["image", "show", "linux-dev", "--json"])["id"], built["id"]);
    let dry = place.json(&["image", "rm", name, "--dry-run", "--json"]);
    assert!(dry.as_array().unwrap().iter().all(|one| one["fate"] == "would be removed"), "{dry}");
    assert_eq!(text(&place.json(&["image", "list", "--json"])[0]["id"]), id, "a look removes nothing");
    let done = place.json(&["image", "rm", &id[..12], "--yes", "--json"]);
    let kinds: Vec<String> = done.as_array().unwrap().iter().map(|one| text(&one["kind"])).collect();
    assert_eq!(kinds, ["image", "layer", "layer", "layer", "layer"], "{done}");
    assert!(done.as_array().unwrap().iter().all(|one| one["fate"] == "removed"), "{done}");
    assert_eq!(place.json(&["image", "list", "--json"]), serde_json::json!([]));
    place.run(&["image", "rm", name, "--dry-run"]).expect(2).tells(&["no image", "there are: none"]);
}

#[test]
fn the_machine_of_a_failed_step_can_be_kept_for_a_look() {
    let place = Place::with_steps(&[("fails", "echo here >/root/look\nexit 4\n")]);
    let done = place.run(&["image", "build", "--keep-failed"]).expect(3).tells(&["machine ssh", "machine down"]);
    let machines = place.json(&["machine", "list", "--json"]);
    assert_eq!(machines.as_array().unwrap().len(), 1, "{machines}");
    let id = text(&machines[0]["id"]);
    assert!(done.stderr.contains(&id) && machines[0]["live"] == true, "{machines}");
    assert_eq!(place.exec(&id, &["cat", "/root/look"]).expect(0).text(), "here\n");
    let seen = place.run(&["machine", "ssh", &id, "cat", "/root/look", ";", "exit", "5"]).expect(5);
    assert!(seen.text().contains("here"), "{}", seen.text());
    let kept = place.run(&["audit", "--json"]).expect(0).json();
    assert!(kept.as_array().unwrap().iter().all(|finding| finding["standing"] == "kept"), "{kept}");
    place.run(&["audit", "--fix"]).expect(0);
    place.exec(&id, &["true"]).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn all_images_can_be_baked_at_once() {
    let place = Place::with_steps(&[("slow", "sleep 1\n")]);
    place.own_images();
    let arguments = ["bootstrap-linux-dev", "--distros", "debian12", "--parallel", "--json"];
    // Two processes that want the same image: one makes it, the other one waits and uses it.
    let both = [place.start(&arguments), place.start(&arguments)];
    let ids: Vec<Value> = both.into_iter().map(|bake| bake.end().expect(0).json()[0]["id"].clone()).collect();
    assert_eq!(ids[0], ids[1]);
    let listed = place.json(&["image", "list", "--json"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &ids[0]));
    let runs = place.json(&["runs", "list", "--json"]);
    for run in runs.as_array().unwrap() {
        place.assert_certified(run["id"].as_str().unwrap());
    }
    place.assert_clean();
}

#[test]
fn a_dead_mirror_does_not_matter_where_the_image_is_there() {
    let place = Place::small();
    place.settings("[local]\ndebian-mirror = \"http://127.0.0.1:9/debian\"\n");
    let id = place.up(&[]);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_layer_whose_record_is_gone_is_collected() {
    let place = Place::small();
    place.own_images();
    let unknown = place.state.join("images/layers/0123456789abcdef");
    std::fs::create_dir_all(unknown.join("fs/etc")).unwrap();
    place.run(&["image", "gc", "--dry-run"]).expect(0).tells(&["no record knows", "1 would be removed"]);
    assert!(unknown.exists());
    place.run(&["image", "gc"]).expect(0).tells(&["no record knows", "1 removed"]);
    assert!(!unknown.exists());
    place.run(&["image", "gc"]).expect(0).tells(&["Nothing to collect."]);
}

#[test]
fn what_cannot_be_baked_is_told_before_anything_is_made() {
    let place = Place::new();
    place.settings("[local]\nkeyring = \"/no/such/keyring.gpg\"\n");
    let done = place.run(&["image", "build"]).expect(3);
    done.tells(&["archive keys `/no/such/keyring.gpg`", "No such file", "[local]", "Nothing was made"]);
    let missing = place.path().join("nothing").display().to_string();
    for words in [&["image", "list"][..], &["image", "gc", "--all"]] {
        let done = place.run(&[&["--images", &missing], words].concat()).expect(2);
        done.tells(&["no folder of image definitions", &missing]);
    }
}

/// On a disk of its own, in a mount namespace of its own.
const FULL: &str = r#"
disk=$1 state=$1/state; shift
mount -t tmpfs -o nr_inodes=60,size=50m,mode=700 tmpfs "$disk" || exit 77
"$@" --state-path "$state" machine list >/dev/null || exit 1
"$@" --state-path "$state" image build && exit 2
mkdir -p "$state/images/layers/0123456789abcdef/fs"
i=0; while touch "$disk/f$i" 2>/dev/null; do i=$((i+1)); done
"$@" --state-path "$state" machine up && exit 3
"$@" --state-path "$state" machine list && exit 6
"$@" --state-path "$state" image gc || exit 4
test ! -e "$state/images/layers/0123456789abcdef" || exit 5
rm "$disk"/f*
"$@" --state-path "$state" audit
"#;

#[test]
fn a_full_disk_is_told_before_a_bake_and_gc_makes_room_on_it() {
    let disk = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("unshare");
    clear(&mut command, disk.path());
    command.arg("--mount");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "sh", "-c", FULL, "sh"]).arg(disk.path()).arg(binary());
    let done = Running::start(command).end();
    if done.code() == 77 {
        return skip("nobody may mount a disk of their own here");
    }
    let done = done.expect(0);
    done.tells(&[
        "no room to bake an image",
        "image gc",
        "Nothing was made",
        "No space left",
        "`df -i`",
        "no record knows",
    ]);
}
