//! Packages that are built on machines of EC2 that have Windows, as a user meets them. Behind an instance there is the stand-in for a
//! Windows machine; its image has no step of the real one, whose installers would be hollow.

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::mercurial::packaged;
use support::tool::Place;

use super::cli::World;

/// How long a bake, a launch and a build may take on a computer that does other things beside it.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A definition of an image that is the published one, and is ready to be booted from.
const BARE: &str = r#"
name = "bare"
description = "Machines as they are published"
platform = "windows"
login-user = "Administrator"

[distros.server2022.ec2]
owner = "801119661308"
name = "Windows_Server-2022-English-Full-Base-*"
parameter = "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base"
user = "Administrator"

[[steps]]
name = "reset"
description = "Having user data run again"
script = "reset.py"
timeout = "2m"
"#;

/// Has the launch agent run user data at the next boot as at a first one, and removes the keys of the machine that bakes.
const RESET: &str = r#"
import glob, os, subprocess, sys
for path in glob.glob("C:/ProgramData/ssh/*key*"):
    os.remove(path)
sys.exit(subprocess.call(["C:/Program Files/Amazon/EC2Launch/EC2Launch.exe", "reset", "--clean"]))
"#;

/// Writes the definition of that image; gives the folder of images.
fn define(folder: &Path) -> PathBuf {
    let bare = folder.join("images/bare");
    std::fs::create_dir_all(&bare).unwrap();
    std::fs::write(bare.join("image.toml"), BARE).unwrap();
    std::fs::write(bare.join("reset.py"), RESET).unwrap();
    folder.join("images")
}

#[test]
fn packages_are_built_on_an_instance_and_come_home() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let folder = tempfile::tempdir().unwrap();
    let images = define(folder.path());
    let (source, dist) = (packaged(folder.path()), folder.path().join("dist"));
    let words = ["--images", images.to_str().unwrap(), "--image", "bare", "--json", "--python-version", "3.13"];
    let more = ["--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap()];
    let running = world.start_strictly("build-windows-wheel", &[&words[..], &more].concat());
    let done = running.end_within(LIMIT).expect(0).tells(&["1 of 1 packages built"]);
    let results = done.json();
    assert_eq!(results["cells"][0]["outcome"], "built", "{results}");
    assert!(dist.join("mercurial-7.2.4-cp313-cp313-win_amd64.whl").is_file());
    world.assert_clean();
}

#[test]
fn an_instance_whose_agent_never_registers_shows_its_console_and_leaves_nothing() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let folder = tempfile::tempdir().unwrap();
    let images = define(folder.path());
    let with =
        |words: &[&str]| world.start(&[&["--images", images.to_str().unwrap()], words].concat()).end_within(LIMIT);
    with(&["--connect", "ssm", "image", "build", "bare"]).expect(2).tells(&["bakes need SSH"]);
    with(&["image", "build", "bare"]).expect(0);
    world.aws.control.set(|now| now.agents = false);
    let done = with(&["--connect", "ssm", "machine", "up", "--image", "bare", "--ttl", "2m"]).expect(4);
    let console = ["The machine's own last words", "Nothing is left behind"];
    done.tells(&[&["the service knows no SSM agent on it", "kept trying for"][..], &console].concat());
    world.assert_clean();
}
