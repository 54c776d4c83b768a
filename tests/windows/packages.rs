//! What builds packages on a machine, by this computer's Python: only what was asked for comes of it, whatever its tools make.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Stands for `cibuildwheel` and for a compiler of installers: makes what the variable MAKES says.
const TOOL: &str = r#"#!/usr/bin/env python3
import json, os, re, sys, zipfile
program = os.path.basename(sys.argv[0])
if program == "ISCC.exe":
    print("compiled by", os.path.dirname(sys.argv[0]))
    text = open(sys.argv[2], encoding="utf-8").read()
    folder = sys.argv[1][2:]
    os.makedirs(folder, exist_ok=True)
    name = re.search("OutputBaseFilename=(.*)", text).group(1)
    with open("%s/%s.exe" % (folder, name), "wb") as file:
        file.write(b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little") + b"PE\0\0".ljust(2000, b"\0"))
    sys.exit()
made = json.loads(os.environ["MAKES"])
folder = sys.argv[sys.argv.index("--output-dir") + 1]
for wheel in made["wheels"]:
    path = folder + "/" + wheel["file"]
    if "bytes" in wheel:
        open(path, "w").write(wheel["bytes"])
        continue
    about = "-".join(wheel["file"].split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(about + "METADATA", "Name: mercurial\nVersion: %s\n" % wheel["version"])
        archive.writestr(about + "WHEEL", "Tag: %s\n" % wheel["tag"])
        archive.writestr("mercurial/__init__.py", "")
        archive.writestr("mercurial-7.2.4.data/scripts/hg.exe", "MZ")
sys.exit(made.get("exit", 0))
"#;

/// What a wheel is called that was asked for.
const WHEEL: &str = "mercurial-7.2.4-cp313-cp313-win_amd64.whl";

/// A Windows machine's folders, with our programs in the folder of a run and the model of a source.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["run", "path", "hgdev/src/.hg", "hgdev/tmp", "made"] {
            std::fs::create_dir_all(bench.at(folder)).unwrap();
        }
        support::copy_folder(&support::root().join("tests/fixtures/packaged"), &bench.at("hgdev/src"));
        // What lies on drive C lies below the folder.
        let drive = format!("\"{}/", bench.folder.path().display());
        for name in ["places", "wheels", "build_wheel", "build_installer", "stage_installer"] {
            let file = format!("{name}.py");
            let text = std::fs::read_to_string(support::root().join("remote/mercurial/windows").join(&file)).unwrap();
            std::fs::write(bench.at("run").join(file), text.replace("\"C:/", &drive)).unwrap();
        }
        bench.own("run");
        bench.tool("path/cibuildwheel");
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Says that the run with this folder uses the machine.
    fn own(&self, run: &str) {
        std::fs::write(self.at("hgdev/.used-by-automation"), format!("{}\n", self.at(run).display())).unwrap();
    }

    fn tool(&self, name: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, TOOL).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Has the source's packaging do this.
    fn packaging(&self, body: &str) {
        let text = format!("# --pyoxidizer-target\nimport os, sys\nos.makedirs('dist', exist_ok=True)\n{body}\n");
        std::fs::write(self.at("hgdev/src/contrib/packaging/packaging.py"), text).unwrap();
    }

    /// Runs one of our programs; the word OUTPUT stands for the folder of what is made.
    fn run(&self, program: &str, words: &[&str], makes: &Value) -> Output {
        let path = format!("{}:{}", self.at("path").display(), std::env::var("PATH").unwrap());
        let made = self.at("made");
        let mut command = Command::new("python3");
        command.arg(self.at("run").join(program)).env("PATH", path).env("MAKES", makes.to_string());
        command.args(words.iter().map(|word| if *word == "OUTPUT" { made.to_str().unwrap() } else { word }));
        command.output().unwrap()
    }

    /// It is built: what the last line of the output says of it.
    fn built(&self, done: &Output) -> Value {
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout.clone()).unwrap();
        let told: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let file = self.at("made").join(std::path::Path::new(told["path"].as_str().unwrap()).file_name().unwrap());
        assert_eq!(told["size"].as_u64(), Some(std::fs::metadata(&file).unwrap().len()), "{told}");
        std::fs::remove_file(file).unwrap();
        told
    }

    /// It ends so, says why, says nothing of a file, and leaves none.
    fn fails(&self, done: &Output, code: i32, told: &str) {
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{told}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(told), "`{told}` is not in `{last}`: {said}");
        assert_eq!((done.stdout.as_slice(), self.names("made")), (&b""[..], vec![]), "{told}");
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn wheel(file: &str, version: &str, tag: &str) -> Value {
    json!({"file": file, "version": version, "tag": tag})
}

#[test]
fn a_build_that_makes_no_wheel_or_another_one_fails_and_leaves_none() {
    let bench = Bench::new();
    let build = |makes: &Value| bench.run("build_wheel.py", &["3.13", "x64", "OUTPUT", "7.2.4"], makes);
    let tag = "cp313-cp313-win_amd64";
    let right = wheel(WHEEL, "7.2.4", tag);
    let told = bench.built(&build(&json!({"wheels": [right]})));
    assert_eq!(told["version"], "7.2.4");
    let older = "mercurial-7.2.3-cp313-cp313-win_amd64.whl";
    for (wheels, reason) in [
        (json!([]), "expected one wheel of cp313-win_amd64 and got none".to_owned()),
        (json!([right, wheel(older, "7.2.3", tag)]), format!("got {older}, {WHEEL}")),
        (
            json!([wheel("mercurial-7.2.4-cp312-cp312-win_amd64.whl", "7.2.4", "cp312-cp312-win_amd64")]),
            format!("expected a wheel of {tag} and got `mercurial-7.2.4-cp312"),
        ),
        (json!([wheel(WHEEL, "7.2.3", tag)]), "says of itself that it is mercurial 7.2.3".to_owned()),
        (json!([wheel(older, "7.2.3", tag)]), "is of version 7.2.3, and 7.2.4 was asked for".to_owned()),
        (json!([wheel(WHEEL, "7.2.4", "py3-none-any")]), "says of itself that it is for py3-none-any".to_owned()),
        (json!([{"file": WHEEL, "bytes": "no archive"}]), "cannot be read".to_owned()),
    ] {
        bench.fails(&build(&json!({"wheels": wheels})), 1, &reason);
    }
    // One that is right does not make up for a failure.
    bench.fails(
        &build(&json!({"wheels": [right], "exit": 3})),
        1,
        "`cibuildwheel --only cp313-win_amd64` ended with 3",
    );
    assert_eq!(bench.names("hgdev/tmp"), Vec::<String>::new());
}

/// What a package of each kind begins with, as a line of Python that writes one under a name.
const MSI: &str = "open('dist/%s', 'wb').write(b'\\xd0\\xcf\\x11\\xe0'.ljust(2000, b'0'))";

#[test]
fn packaging_that_makes_no_installer_or_another_one_fails_and_leaves_none() {
    let bench = Bench::new();
    let build =
        || bench.run("build_installer.py", &["wix", "x64", "7.2.4", "7.2.4", "pyoxidizer", "OUTPUT"], &json!({}));
    let (name, make) = ("mercurial-7.2.4-x64.msi", |name: &str| MSI.replace("%s", name));
    bench.packaging("");
    bench.fails(&build(), 1, &format!("expected {name} in"));
    bench.fails(&build(), 1, "and got nothing new");
    // What an earlier build left is not what this one made.
    std::fs::write(bench.at("hgdev/src/dist").join(name), [b"\xd0\xcf\x11\xe0".as_slice(), &[0; 2000]].concat())
        .unwrap();
    bench.fails(&build(), 1, "and got nothing new");
    std::fs::remove_file(bench.at("hgdev/src/dist").join(name)).unwrap();
    for (body, told) in [
        (make("mercurial-7.2.3-x64.msi"), "got mercurial-7.2.3-x64.msi"),
        (format!("open('dist/{name}', 'w').write('not one' * 1000)"), "is not a file of its kind"),
        (format!("open('dist/{name}', 'wb').write(b'\\xd0\\xcf\\x11\\xe0')"), "is not a file of its kind"),
        (
            format!("{}\n{}", make(name), make("mercurial-7.2.4-x86.msi")),
            "got mercurial-7.2.4-x64.msi, mercurial-7.2.4-x86.msi",
        ),
        (format!("{}\nsys.exit(5)", make(name)), "packaging.py failed: it ended with 5"),
        (
            "print('x.wxs(3) : error CNDL0104 : Not a valid source')\nprint('more')\nsys.exit(1)".to_owned(),
            "error CNDL0104",
        ),
    ] {
        bench.packaging(&body);
        bench.fails(&build(), 1, told);
        drop(std::fs::remove_dir_all(bench.at("hgdev/src/dist")));
    }
    bench.packaging(&make(name));
    let told = bench.built(&build());
    assert_eq!((&told["version"], told["size"].as_u64()), (&"7.2.4".into(), Some(2000)));

    // Another run has taken the machine; packaging that cannot be asked.
    bench.own("other");
    bench.fails(&build(), 75, "another run uses the machine now");
    bench.own("run");
    let no_version = bench.run("build_installer.py", &["wix", "x64", "", "", "pyoxidizer", "OUTPUT"], &json!({}));
    bench.fails(&no_version, 2, "asks for a VERSION");
    std::fs::remove_file(bench.at("hgdev/src/contrib/packaging/packaging.py")).unwrap();
    bench.fails(&build(), 2, "this revision cannot be packaged so");
}

#[test]
fn the_compiler_that_the_packaging_asks_for_is_used_where_it_is_there() {
    let bench = Bench::new();
    let embed = bench.at("hgdev/embed/python313-x64");
    std::fs::create_dir_all(&embed).unwrap();
    std::fs::write(embed.join("python313._pth"), "python313.zip\n.\n").unwrap();
    let makes = json!({"wheels": [wheel(WHEEL, "7.2.4", "cp313-cp313-win_amd64")]});
    let build = || {
        let words = ["inno", "x64", "7.2.4", "7.2.4", "wheel", "OUTPUT", "3.9", "3.13"];
        let done = bench.run("build_installer.py", &words, &makes);
        drop(std::fs::remove_dir_all(bench.at("hgdev/src/dist")));
        done
    };
    bench.fails(&build(), 1, "there is no compiler of installers");
    let compiler = |major: u8| format!("Program Files (x86)/Inno Setup {major}/ISCC.exe");
    let by = |done: &Output, major: u8| {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains(&format!("Inno Setup {major}\n")), "{said}");
        said
    };
    bench.tool(&compiler(6));
    let done = build();
    assert!(by(&done, 6).contains("Inno Setup 5/ISCC.exe is not there"));
    bench.built(&done);
    bench.tool(&compiler(5));
    let done = build();
    assert!(!by(&done, 5).contains("is not there"));
    bench.built(&done);
    // The tool makes nothing, and nobody takes that for an installer.
    std::fs::write(bench.at(&compiler(5)), "#!/bin/sh\nexit 0\n").unwrap();
    bench.fails(&build(), 1, "expected Mercurial-7.2.4-x64.exe in");
}
