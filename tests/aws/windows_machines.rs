//! Machines on EC2 that have Windows, as a user meets them: behind `RunInstances` there is the stand-in for a Windows machine, which has
//! real Pythons for Windows, no PowerShell, and hollow installers (`windows_bake/hollow.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_ec2::types::{IamInstanceProfileSpecification, InstanceType};
use connection::SshConnector;
use guest::FirstBoot;
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::connection::{Connection, Connector};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::tool::{Done, Place, Running};

use super::cli::World;
use crate::emulated::{sdk, with_machines};

/// How long a bake may take on a computer that does other things beside it.
const BAKE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a machine may take until it answers, and a command on it.
const LIMIT: Duration = Duration::from_secs(120);

/// The programs that are scripted, beside those that are loaded.
const SCRIPTED: &str = "cl curl hg iscc msgfmt msiexec program pyoxidizer python rustup sh vswhere";

/// Serves a folder over HTTP; ends with it.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let script = "import functools, http.server as h\n\
                      class Q(h.SimpleHTTPRequestHandler):\n    log_message = lambda *_: None\n\
                      s = h.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Q, directory='.'))\n\
                      print(s.server_port, flush=True)\ns.serve_forever()";
        let mut command = Command::new("python3");
        let mut child = command.args(["-c", script]).current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A definition of `windows-dev` whose downloads are recorders that a server of its own serves.
struct Hollow {
    folder: tempfile::TempDir,
    server: Server,
}

/// The recorder, as the stand-in's image has it.
fn recorder() -> Vec<u8> {
    let standin = Place::standin().expect("who asks for it has a stand-in");
    let image = standin.json(&["image", "show", "windows-standin-debian13", "--json"]);
    let layers = standin.state.join("images/layers");
    let layer = image["layers"].as_array().unwrap().last().unwrap()["fingerprint"].as_str().unwrap().to_owned();
    std::fs::read(layers.join(layer).join("fs/srv/windows/drive_c/standin/recorder.exe")).unwrap()
}

impl Hollow {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, served) = (folder.path().join("windows-dev"), folder.path().join("served"));
        support::copy_folder(&support::root().join("images/windows-dev"), &image);
        support::copy_folder(&support::root().join("tests/aws/windows_bake"), &image);
        std::fs::create_dir(&served).unwrap();
        let server = Server::start(&served);
        let hollow = Self { folder, server };
        hollow.define();
        hollow.pin();
        hollow
    }

    /// With one version of Python and one of Rust: what is made of the others is the same again.
    fn small() -> Self {
        let hollow = Self::new();
        for (step, from, to) in [
            ("30-pythons.py", r#"("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")"#, r#"("3.13",)"#),
            ("50-rust.py", r#"("stable", "1.52.0")"#, r#"("stable",)"#),
        ] {
            let file = hollow.at("windows-dev").join(step);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(from), "{step}");
            std::fs::write(&file, text.replace(from, to)).unwrap();
        }
        hollow
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the step that makes programs hollow before the others.
    fn define(&self) {
        let file = self.at("windows-dev/image.toml");
        let mut document: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        let step = "name = 'stubs'\ndescription = 'Making programs hollow'\nscript = '05-hollow.py'\n\
                    files = ['hollow.py', 'scripted.txt']\ntimeout = '5m'\n";
        let steps = document["steps"].as_array_mut().unwrap();
        steps.insert(0, toml::Value::Table(step.parse().unwrap()));
        std::fs::write(&file, toml::to_string(&document).unwrap()).unwrap();
    }

    /// Serves a recorder in the place of each download.
    fn pin(&self) {
        let recorder = recorder();
        let file = self.at("windows-dev/pins.json");
        let mut pins: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut scripted = SCRIPTED.replace(' ', "\n");
        for pin in pins.values_mut() {
            let name = pin["url"].rsplit('/').next().unwrap().to_owned();
            let download = self.at("served").join(&name);
            std::fs::write(&download, &recorder).unwrap();
            if name.ends_with(".zip") {
                let make = "import sys, zipfile; zipfile.ZipFile(sys.argv[1] + '.new', 'w').write(sys.argv[1], 'MinGW/msys/1.0/bin/sh.exe')";
                let made = Command::new("python3").args(["-c", make]).arg(&download).status().unwrap();
                assert!(made.success());
                std::fs::rename(self.at("served").join(format!("{name}.new")), &download).unwrap();
            }
            if let Some(program) = name.strip_suffix(".exe") {
                scripted += &format!("\n{}", program.to_lowercase());
            }
            pin.insert("url".to_owned(), format!("http://127.0.0.1:{}/{name}", self.server.port));
            let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(std::fs::read(&download).unwrap()));
            pin.insert("sha256".to_owned(), sum);
        }
        std::fs::write(&file, serde_json::to_string(&pins).unwrap()).unwrap();
        std::fs::write(self.at("windows-dev/scripted.txt"), scripted).unwrap();
    }

    /// Leaves a program unscripted.
    fn forget(&self, program: &str) {
        let file = self.at("windows-dev/scripted.txt");
        let text = std::fs::read_to_string(&file).unwrap();
        let rest: Vec<&str> = text.lines().filter(|line| *line != program).collect();
        assert!(rest.len() < text.lines().count());
        std::fs::write(&file, rest.join("\n")).unwrap();
    }

    fn words<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        [&["--images", self.folder.path().to_str().unwrap()], command].concat()
    }

    fn start(&self, world: &World, command: &[&str]) -> Running {
        world.start(&self.words(command))
    }

    fn tool(&self, world: &World, command: &[&str]) -> Done {
        self.start(world, command).end_within(BAKE_LIMIT)
    }
}

/// A program that prints every script that the recorder kept of PowerShell, as a list in JSON.
const RECORDED: &str = "import glob, json; kept = [json.load(open(path, encoding='utf-8')) for path in \
                        sorted(glob.glob('C:/standin/records/*-powershell.json'))]; \
                        print(json.dumps([record['script'] for record in kept if record['script']]))";

/// Every recorded script that PowerShell 5.1 could not run, whatever was answered for it, each with what is wrong; one of those that were
/// recorded must hold `needed`.
fn unsound(recorded: &str, needed: &str) -> Vec<(String, Vec<String>)> {
    let scripts: Vec<String> = serde_json::from_str(recorded).unwrap();
    assert!(scripts.iter().any(|script| script.contains(needed)), "no script with `{needed}` was recorded: {recorded}");
    let judged = scripts.into_iter().map(|script| (powershell::flaws(&script), script));
    judged.filter(|(flaws, _)| !flaws.is_empty()).map(|(flaws, script)| (script, flaws)).collect()
}

const BAKE: [&str; 1] = ["bootstrap-windows-dev"];

/// What a step of a bake begins with in the run's log, in the order of the steps; the last is what comes after them.
const STEPS: [&str; 9] = [
    "Switching the scanning",
    "Installing the build tools",
    "Installing Pythons",
    "Making the Pythons",
    "Installing gettext",
    "Installing Rust",
    "Making the repository",
    "Removing what belongs",
    "waiting for the image",
];

/// What the last step of the newest run's bake printed.
fn baked(place: &Place) -> Value {
    let steps = place.steps();
    let lines: Vec<&str> = steps.lines().filter_map(|line| line.split_once(" | ").map(|(_, text)| text)).collect();
    let from =
        lines.iter().rposition(|line| *line == "{").unwrap_or_else(|| panic!("no list of what was baked: {steps}"));
    let list: Vec<&str> = lines[from..].iter().copied().take_while(|line| *line != "}").chain(["}"]).collect();
    serde_json::from_str(&list.join("\n")).unwrap_or_else(|error| panic!("{error}: {steps}"))
}

/// Waits until the only machine has ended by itself, and gives the reason.
fn ended_by_itself(world: &World, within: Duration) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async { aws_sdk_ec2::Client::new(&crate::emulated::sdk(&world.aws).await) });
    let end = Instant::now() + within;
    loop {
        let found = runtime.block_on(client.describe_instances().send()).unwrap();
        let instance = found.reservations()[0].instances()[0].clone();
        if instance.state().unwrap().name().unwrap().as_str() == "terminated" {
            return instance.state_reason().unwrap().code().unwrap().to_owned();
        }
        assert!(Instant::now() < end, "{instance:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_machine_of_the_baked_image_has_windows_a_key_of_its_own_and_leaves_nothing() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let hollow = Hollow::small();
    let done = hollow.tool(&world, &BAKE).expect(0);
    done.tells(&["Starting from the published image `ami-00142022000000002`, which is ", "days old"]);
    let names = baked(&world.place);
    for name in [
        "build-tools",
        "cibuildwheel",
        "embed/python313-x86",
        "mercurial",
        "python313-x86",
        "python313-x64",
        "rust-stable",
        "source",
    ] {
        assert!(names.get(name).is_some(), "{name}: {names}");
    }
    let up = hollow.tool(&world, &["machine", "up", "--image", "windows-dev"]).expect(0);
    let id = up.text().trim().to_owned();
    let exec = |command: &[&str]| hollow.tool(&world, &[&["machine", "exec", &id, "--"], command].concat());
    assert_eq!(exec(&["cmd", "/c", "exit 7"]).code(), 7);
    let said = exec(&["python", "-c", "print(open('C:/hgdev/baked.json').read())"]).expect(0).text();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), names);
    assert_eq!(unsound(&exec(&["python", "-c", RECORDED]).expect(0).text(), "Add-MpPreference"), []);
    // The key that user data still shows is not the one that the machine proves itself with.
    let machine = world.tool(&["machine", "list", "--json"]).expect(0).json()[0].clone();
    assert_eq!((&machine["platform"], &machine["user"]), (&Value::from("windows"), &Value::from("Administrator")));
    let known = machine["host_key"]["public"].as_str().unwrap().to_owned();
    let keygen = "C:/windows/system32/OpenSSH/ssh-keygen.exe";
    let shown = exec(&[keygen, "-y", "-f", "C:/ProgramData/ssh/hg_host_ed25519_key"]).expect(0).text();
    assert_eq!(shown.split_whitespace().nth(1), known.split(' ').nth(1), "{shown}");
    let calls = world.aws.control.calls();
    let launch = &calls.iter().rfind(|logged| logged.name == "ec2:RunInstances").unwrap().call;
    let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, launch.param("UserData")).unwrap();
    let handed = String::from_utf8(data).unwrap();
    let handed = handed.lines().find_map(|line| line.strip_prefix("#= host-key ")).unwrap();
    let handed = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, handed).unwrap();
    let file = hollow.at("handed");
    std::fs::write(&file, handed).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let handed = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&file).output().unwrap();
    let handed = String::from_utf8(handed.stdout).unwrap();
    assert!(handed.starts_with("ssh-ed25519 "), "{handed}");
    assert_ne!(handed.split_whitespace().nth(1), shown.split_whitespace().nth(1), "the key was not replaced");
    world.tool(&["machine", "down", &id]).expect(0);
    world.assert_clean();
    without_ssh(&world, &hollow);
}

/// The same image, on a machine that nobody reaches by SSH.
fn without_ssh(world: &World, hollow: &Hollow) {
    let up = hollow.tool(world, &["--connect", "ssm", "machine", "up", "--image", "windows-dev"]).expect(0);
    let id = up.text().trim().to_owned();
    let calls = world.aws.control.calls();
    let launch = &calls.iter().rfind(|logged| logged.name == "ec2:RunInstances").unwrap().call;
    let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, launch.param("UserData")).unwrap();
    assert!(!String::from_utf8(data).unwrap().contains("\n#= host-key "));
    let exec = |command: &[&str]| hollow.tool(world, &[&["machine", "exec", &id, "--"], command].concat());
    let words = "import sys; print(sys.platform, ascii(sys.argv[1:])); sys.stderr.write('x' * 30000); sys.exit(9)";
    let done = exec(&["python", "-c", words, "a \"b\" %PATH%", "", "\u{e9} & ^"]).expect(9);
    assert_eq!(done.text().trim_end(), "win32 ['a \"b\" %PATH%', '', '\\xe9 & ^']");
    assert!(done.stderr.contains(&"x".repeat(30_000)), "more than Run Command keeps: {}", done.stderr.len());
    let (here, back) = (hollow.at("here"), hollow.at("back"));
    std::fs::write(&here, "by commands\r\n").unwrap();
    world.tool(&["machine", "cp", here.to_str().unwrap(), &format!("{id}:C:/hgdev/there")]).expect(0);
    world.tool(&["machine", "cp", &format!("{id}:C:/hgdev/there"), back.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "by commands\r\n");
    assert_eq!(unsound(&exec(&["python", "-c", RECORDED]).expect(0).text(), "$Words"), []);
    let look = "import os; print(sorted(os.listdir('C:/ProgramData/hg-automation/ssm')))";
    let left = exec(&["python", "-c", look]).expect(0).text();
    assert_eq!(left.matches("hg-automation-ssm-").count(), 1, "only the folder of this very command: {left}");
    world.tool(&["machine", "down", &id]).expect(0);
    world.assert_clean();
}

#[test]
fn a_machine_whose_driver_is_killed_ends_itself() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let hollow = Hollow::small();
    let running = hollow.start(&world, &[&["--grace", "40s"], &BAKE[..]].concat());
    world.place.wait_for_step(&format!("begin windows-dev-server2022: {}", STEPS[0]), &running);
    running.signal(Signal::KILL);
    running.end();
    assert_eq!(ended_by_itself(&world, Duration::from_secs(100)), "Client.InstanceInitiatedShutdown");
    world.tool(&["audit", "--fix"]).expect(0);
    world.assert_clean();
}

#[test]
fn another_download_than_the_pinned_one_and_a_program_that_nobody_scripted_end_a_bake() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let hollow = Hollow::small();
    hollow.forget("vs_buildtools");
    let done = hollow.tool(&world, &BAKE).expect(3);
    done.tells(&["`vs_buildtools` is not really there, and nothing was scripted", "ended with 97"]);
    std::fs::write(hollow.at("served/vs_BuildTools.exe"), "MZ another").unwrap();
    hollow.tool(&world, &BAKE).expect(3).tells(&["has the SHA-256", "nothing of it was run"]);
    let steps = world.place.steps();
    assert!(!steps.contains("running C:/hgdev/assets/vs_BuildTools.exe"), "{steps}");
    world.assert_clean();
}

#[test]
#[ignore = "takes five minutes"]
fn a_bake_that_is_killed_after_any_step_ends_with_the_same_image() {
    let Some(world) = Place::standin().and_then(World::with_machines) else { return };
    let hollow = Hollow::small();
    let mut names = None;
    for next in &STEPS[1..] {
        let running = hollow.start(&world, &BAKE);
        running.wait_for("Starting from");
        let end = Instant::now() + BAKE_LIMIT;
        while !world.place.steps().contains(next) {
            assert!(running.lives() && Instant::now() < end, "no `{next}`: {}", running.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        running.signal(Signal::KILL);
        running.end();
        names = world.place.steps().contains(STEPS[8]).then(|| baked(&world.place));
        world.tool(&["audit", "--fix"]).expect(0);
    }
    // All steps of the last one had run, and the account made its image without a driver.
    hollow.tool(&world, &BAKE).expect(0).tells(&["Nothing was made"]);
    let names = names.expect("the last step prints what was baked");
    world.tool(&["image", "gc", "--all"]).expect(0);
    hollow.tool(&world, &BAKE).expect(0);
    assert_eq!(baked(&world.place), names);
    world.assert_clean();
}

/// An instance of Amazon's image with an agent, and a connection to it as `Administrator`.
async fn instance(sdk: &SdkConfig, folder: &Path) -> (String, Box<dyn Connection>) {
    let (login, host) = (connection::generate("tester").unwrap(), connection::generate("host").unwrap());
    let identity = folder.join("id");
    std::fs::write(&identity, &login.private_openssh).unwrap();
    let now = Timestamp::now();
    let id = MachineId::random();
    let expires_at = now + Duration::from_secs(3600);
    let data = FirstBoot {
        machine: &id,
        user: "Administrator",
        keys: Some((&login.public_openssh, &host.private_openssh)),
        lease: expires_at,
        expires_at,
        idle: None,
    };
    let data = guest::of(Platform::Windows).life().unwrap().first_boot(&data);
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
    let iam = aws_sdk_iam::Client::new(sdk);
    iam.create_instance_profile().instance_profile_name("hg-test").send().await.unwrap();
    let ssm = aws_sdk_ssm::Client::new(sdk);
    let name = "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base";
    let image = ssm.get_parameter().name(name).send().await.unwrap().parameter.unwrap().value.unwrap();
    let client = aws_sdk_ec2::Client::new(sdk);
    let run = client.run_instances().image_id(image).instance_type(InstanceType::M6iLarge).user_data(data);
    let profile = IamInstanceProfileSpecification::builder().name("hg-test").build();
    let made = run.min_count(1).max_count(1).iam_instance_profile(profile).send().await.unwrap();
    let instance = made.instances()[0].instance_id().unwrap().to_owned();
    let host_of = async || {
        let found = client.describe_instances().instance_ids(&instance).send().await.unwrap();
        found.reservations()[0].instances()[0].public_ip_address().map(str::to_owned)
    };
    let end = Instant::now() + LIMIT;
    let address = loop {
        assert!(Instant::now() < end, "no address");
        match host_of().await {
            Some(host) => break Address::Tcp { host, port: 22 },
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let machine = Machine {
        id,
        provider: ProviderKind::Host,
        platform: Platform::Windows,
        run: RunId::new(now),
        owner: String::new(),
        image: String::new(),
        address,
        user: "Administrator".to_owned(),
        identity,
        host_key: HostKey::Exact { public: host.public_openssh.trim().to_owned() },
        volume: None,
        hardware: None,
        created_at: now,
        expires_at,
        name: None,
        kept: false,
        idle: None,
    };
    let connected = SshConnector::default().connect(&machine, "Administrator", LIMIT, true).await;
    (instance, connected.unwrap())
}

#[tokio::test]
async fn the_agent_of_windows_runs_scripts_for_powershell_alone_and_boots_again_on_3010() {
    if !support::tool::is_root() {
        return support::tool::skip("port 22 is root's");
    }
    if !support::images::standin() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let aws = with_machines(folder.path());
    let sdk = sdk(&aws).await;
    let (id, connection) = instance(&sdk, folder.path()).await;
    let ssm = aws_sdk_ssm::Client::new(&sdk);
    let known = ssm.describe_instance_information().send().await.unwrap();
    let known = &known.instance_information_list()[0];
    assert_eq!((known.instance_id(), known.platform_type().unwrap().as_str()), (Some(&*id), "Windows"));
    let send = |document: &str, line: &str| {
        ssm.send_command()
            .document_name(document)
            .instance_ids(&id)
            .parameters("commands", vec![line.to_owned()])
            .send()
    };
    let refused = send("AWS-RunShellScript", "true").await.unwrap_err();
    let code = aws_sdk_ec2::error::ProvideErrorMetadata::code(&refused);
    assert_eq!(code, Some("UnsupportedPlatformType"));
    let run = async |line: &str| {
        let sent = send("AWS-RunPowerShellScript", line).await.unwrap();
        let command = sent.command().unwrap().command_id().unwrap().to_owned();
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "{line}");
            let got = ssm.get_command_invocation().command_id(&command).instance_id(&id).send().await;
            match got {
                Ok(reply) if reply.status().unwrap().as_str() != "InProgress" => break reply,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let done = run("Get-Date").await;
    assert_eq!((done.status().unwrap().as_str(), done.response_code()), ("Failed", 97));
    assert!(done.standard_error_content().unwrap().contains("not known here"), "{done:?}");
    let answers = serde_json::json!([
        {"match": "Get-Date &&", "stdout": "fine\n", "exit": 0},
        {"match": "Install-Everything", "stdout": "first\n", "exit": 3010},
        {"match": "Install-Everything", "stdout": "second\n", "exit": 0},
    ]);
    connection.write_file("C:/standin/answers/powershell.json", answers.to_string().as_bytes(), 0o644).await.unwrap();
    // The recorder answers whatever it was told to; what it kept tells that no PowerShell of that version runs it.
    assert_eq!(run("Get-Date && Get-Date").await.response_code(), 0);
    let told = support::commands::run(&*connection, &model::task::Command::new("python").args(["-c", RECORDED])).await;
    let wrong = unsound(&String::from_utf8(told.stdout).unwrap(), "Get-Date &&");
    let broken = wrong.iter().find(|(script, _)| script.contains("&&")).unwrap();
    assert!(broken.1.iter().any(|flaw| flaw.contains("a chain of commands")), "{broken:?}");
    let done = run("Install-Everything").await;
    assert_eq!((done.status().unwrap().as_str(), done.response_code()), ("Success", 0), "{done:?}");
    assert_eq!(done.standard_output_content().unwrap().replace('\r', ""), "first\nsecond\n");
}
