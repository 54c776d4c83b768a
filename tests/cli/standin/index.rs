//! What was published is installed by `pip` on Windows, and runs.

use std::path::Path;

use support::index::{IndexServer, names};

use super::Standins;

/// What the source of the wheels says that there must be.
const BUILD_FILE: &str = "[project]\nname = 'mercurial'\nrequires-python = '>=3.9'\n[tool.cibuildwheel]\n\
                          build = 'cp39-* cp310-* cp311-* cp312-* cp313-* cp314-*'\nwindows.archs = 'x86 AMD64 ARM64'\n";

/// The wheels that the machine has of Mercurial, which are those of its project.
fn bring_wheels(place: &Standins, id: &str, dist: &Path) {
    let all = place.path().join("wheels");
    place.run(&["machine", "cp", &format!("{id}:C:/standin/wheels"), all.to_str().unwrap()]).expect(0);
    std::fs::create_dir(dist).unwrap();
    for name in names(&all).iter().filter(|name| name.starts_with("mercurial-")) {
        std::fs::copy(all.join(name), dist.join(name)).unwrap();
    }
}

#[test]
fn a_published_wheel_is_installed_by_pip_on_windows_and_runs() {
    let Some(place) = Standins::new() else { return };
    // The index listens on this computer's loopback.
    let id = place.up(&["--image", "windows-standin", "--network", "host"]);
    let (dist, source) = (place.path().join("dist"), place.path().join("source"));
    bring_wheels(&place, &id, &dist);
    std::fs::create_dir_all(source.join("tests")).unwrap();
    std::fs::write(source.join("tests/run-tests.py"), "").unwrap();
    std::fs::write(source.join("pyproject.toml"), BUILD_FILE).unwrap();
    let index = IndexServer::start(&[]);
    let places = ["--dist", dist.to_str().unwrap(), "--source", source.to_str().unwrap()];
    let publish =
        ["publish-windows-artifacts", "7.2.4", "--yes", "--no-mercurial-scm-org", "--repository-url", &index.url];
    place.run(&[&publish[..], &places].concat()).expect(0);
    assert_eq!(index.names(), names(&dist));
    assert_eq!(index.names().len(), 16, "all that the project published");

    let python = "C:/hgdev/python311-x64/python.exe";
    place.exec(&id, &[python, "-c", "import mercurial"]).expect(1);
    let simple = format!("{}simple/", index.url);
    let pip = ["-I", "-m", "pip", "--no-cache-dir", "install", "--index-url", &simple, "mercurial==7.2.4"];
    place.exec(&id, &[&[python][..], &pip].concat()).expect(0);
    // A program of a wheel needs its Python on the path.
    let hg = |line: &str| {
        let line =
            format!("set PATH=C:\\hgdev\\python311-x64;%PATH%&& C:\\hgdev\\python311-x64\\Scripts\\hg.exe {line}");
        place.exec(&id, &["cmd", "/c", &line]).expect(0).text()
    };
    let version = hg("version --quiet");
    assert!(version.contains("7.2.4"), "{version}");
    let told = hg("debuginstall --template {pythonver}");
    assert!(told.starts_with("3.11"), "{told}");
    place.run(&["machine", "down", &id]).expect(0);
}
