//! Packages for Windows, built on the stand-in of a source that packages itself: what arrives, what is told of what does not.

mod installed;
mod sources;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::mercurial::{hg, packaged};
use support::tool::Place;

use super::standin::Standins;
use installed::{install_package, install_program, read_package};

/// How long a driver that was told to stop may take: it releases a machine.
const SOON: Duration = Duration::from_secs(60);

/// Runs a program of this computer; gives what it printed.
fn ask(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// A certificate that signs programs, with its key: the two files.
fn certificate(place: &Place) -> (String, String) {
    let file = |name: &str| place.path().join(name).display().to_string();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let wanted = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"];
    let usage = ["-addext", "extendedKeyUsage=codeSigning", "-keyout", &key, "-out", &certificate];
    ask("openssl", &[&wanted[..], &usage].concat());
    (certificate, key)
}

fn cell<'a>(results: &'a Value, name: &str) -> &'a Value {
    let cells = results["cells"].as_array().unwrap();
    cells.iter().find(|cell| cell["cell"] == name).unwrap_or_else(|| panic!("no {name}: {results}"))
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_matrix_goes_on_after_failures_and_what_arrives_is_whole_signed_and_listed() {
    let Some(place) = Standins::beside(&["openssl", "osslsigncode", "msiinfo"]) else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    // The release was a candidate before.
    hg(&source, &["tag", "--force", "--rev", "7.2.4", "7.2.4rc0"]);
    hg(&source, &["update", "--quiet", "7.2.4"]);
    let (certificate, key) = certificate(&place);
    let sign = format!("osslsigncode sign -h sha256 -certs {certificate} -key {key} -in {{in}} -out {{out}}");
    let (source, folder) = (source.to_str().unwrap(), dist.to_str().unwrap());
    let words = ["build-all-windows-packages", "--json", "--source", source, "--dist", folder, "--shards", "2"];
    let done = place.run(&[&words[..], &["--sign", &sign]].concat()).expect(1);
    let results = done.tells(&["6 of 8 packages built, 2 failed", "Nothing is left behind"]).json();
    assert_eq!(results["version"], "7.2.4", "{results}");

    // There is no Python of 32 bits here; who reads the report learns that, and the log has all of it.
    let failed = cell(&results, "inno-x86");
    assert_eq!(failed["outcome"], "failed", "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("there is no C:/hgdev/embed"), "{failed}");
    let log = std::fs::read_to_string(failed["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("there is no C:/hgdev/embed"), "{log}");
    let failed = cell(&results, "wix-x86");
    assert_eq!(failed["outcome"], "failed", "{failed}");
    assert!(
        failed["reason"].as_str().unwrap().contains("there is no Python for i686"),
        "the tool's own line: {failed}"
    );

    let expected = [
        "Mercurial-7.2.4-x64.exe",
        "logs",
        "manifest.json",
        "mercurial-7.2.4-cp313-cp313-win32.whl",
        "mercurial-7.2.4-cp313-cp313-win_amd64.whl",
        "mercurial-7.2.4-cp39-cp39-win32.whl",
        "mercurial-7.2.4-cp39-cp39-win_amd64.whl",
        "mercurial-7.2.4-x64.msi",
    ];
    assert_eq!(names(&dist), expected);
    let manifest: Value = serde_json::from_slice(&std::fs::read(dist.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["version"], "7.2.4");
    let artifacts = manifest["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 6, "{manifest}");
    for artifact in artifacts {
        let bytes = std::fs::read(dist.join(artifact["name"].as_str().unwrap())).unwrap();
        let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((artifact["size"].as_u64(), artifact["sha256"].as_str()), (Some(bytes.len() as u64), Some(&*sum)));
        assert!(dist.join(artifact["log"].as_str().unwrap()).is_file(), "{artifact}");
        assert_eq!(cell(&results, artifact["cell"].as_str().unwrap())["artifact"], *artifact);
    }
    let (program, package) = (dist.join(expected[0]), dist.join(expected[7]));
    for signed in [&program, &package] {
        let said = ask("osslsigncode", &["verify", "-CAfile", &certificate, "-in", signed.to_str().unwrap()]);
        assert!(said.contains("Succeeded"), "{said}");
    }
    read_package(&package);
    let id = place.up(&["--image", "windows-standin"]);
    install_program(&place, &id, &program);
    install_package(&place, &id, &package);
    place.run(&["machine", "down", &id]).expect(0);
}

#[test]
fn what_a_compiler_says_of_a_script_is_told_and_nothing_comes_of_it() {
    let Some(place) = Standins::new() else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    std::fs::write(source.join("more.iss"), "Bogus=yes\n").unwrap();
    hg(&source, &["commit", "--quiet", "--addremove", "--message", "a directive that there is not"]);
    hg(&source, &["tag", "--force", "7.2.4"]);
    hg(&source, &["update", "--quiet", "7.2.4"]);
    let words = ["build-inno", "--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap()];
    let done = place.run(&words).expect(1);
    let done = done.tells(&["Error on line", "0 of 1 packages built, 1 failed", "inno-x64.log"]);
    assert!(done.text().contains("inno-x64  FAILED"), "{}", done.text());
    assert_eq!(names(&dist), ["logs"]);
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let place = Place::new();
    let source = packaged(place.path());
    let refused = |words: &[&str], told: &[&str]| {
        place.run(&[words, &["--source", source.to_str().unwrap()]].concat()).expect(2).tells(told);
    };
    refused(&["build-windows-installer", "--type", "nsis"], &["nsis", "inno", "wix"]);
    refused(&["build-inno", "--arch", "arm64"], &["arm64", "x86", "x64"]);
    refused(&["build-wix", "--stage", "wheel"], &["unexpected argument", "--stage"]);
    refused(&["build-windows-installer", "--type", "wix", "--stage", "wheel"], &["is for installers of type inno"]);
    for version in ["../7", "7", "7.2.4.post1.dev3", "7.3rc10", "7.3+2", "7.2.4-1", "07.2", "256.1", "7.2.65536"] {
        refused(&["build-inno", "--version", version], &["write it as in `7.2.4`"]);
    }
    refused(&["build-inno", "--sign", "sign 'x"], &["a quote in it does not end"]);
    refused(&["build-inno", "--sign", "no-such-signer"], &["there is no program `no-such-signer`"]);
    refused(&["build-all-windows-packages", "--version", "7.2.5"], &["are of version 7.2.4", "--version"]);
    refused(&["build-inno", "--wait", "1m"], &["--wait", "--host"]);
    refused(&["build-windows-wheel", "--python-version", "3.8"], &["no wheel for Python 3.8 on x64", "3.9, 3.13"]);
    refused(&["build-windows-wheel", "--arch", "arm64"], &["no wheel on arm64", "for: none"]);
    refused(&["build-windows-wheel", "--revision", "7.2.5"], &["has no revision `7.2.5`"]);
    refused(&["build-all-windows-packages", "--shards", "0"], &["--shards"]);
    refused(&["build-all-windows-packages", "--provider", "host", "--host", "hg@127.0.0.1"], &["--platform windows"]);

    // A source between two releases has no version that its packaging could take.
    std::fs::write(source.join("later"), "").unwrap();
    hg(&source, &["commit", "--quiet", "--addremove", "--message", "later"]);
    refused(&["build-wix"], &["is no release as it was tagged", "--version"]);
    std::fs::write(source.join("pyproject.toml"), "[build-system]\nrequires = ['setuptools-scm>=8']\n").unwrap();
    hg(&source, &["commit", "--quiet", "--message", "a version of the repository"]);
    refused(&["build-inno"], &["is no release as it was tagged", "--version"]);
    // One from before that has neither the table of wheels nor the packaging.
    hg(
        &source,
        &["remove", "pyproject.toml", "contrib/packaging/packaging.py", "contrib/packaging/hgpackaging/inno.py"],
    );
    hg(&source, &["commit", "--quiet", "--message", "as in old times"]);
    let old = ["build-windows-wheel", "--source", source.to_str().unwrap()];
    place.run(&old).expect(3).tells(&["does not say which wheels a release has", "7.0 or newer"]);
    refused(&["build-inno"], &["cannot be packaged: it has no contrib/packaging/hgpackaging/inno.py"]);
    refused(&["build-wix", "--version", "5.0"], &["cannot be packaged: it has no contrib/packaging/packaging.py"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path();
    let there = ["build-inno", "--source", elsewhere.to_str().unwrap()];
    place.run(&there).expect(2).tells(&["is not in a Mercurial checkout"]);
    place.assert_clean();
}

#[test]
fn a_build_that_is_interrupted_leaves_what_had_arrived_and_nothing_by_halves() {
    let Some(place) = Standins::new() else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    let words = ["build-windows-wheel", "--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap()];
    let running = place.start(&words);
    running.wait_for("Built mercurial-7.2.4-cp39-cp39-win_amd64.whl");
    running.signal(Signal::INT);
    running.end_within(SOON).expect(130).tells(&["1 of 2 packages built, 1 not built", "Nothing is left behind"]);
    assert_eq!(names(&dist), ["logs", "manifest.json", "mercurial-7.2.4-cp39-cp39-win_amd64.whl"]);
}

#[test]
fn a_machine_that_is_lost_before_or_over_a_package_is_replaced() {
    let Some(place) = Standins::new() else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    let words = ["build-windows-wheel", "--python-version", "3.13", "--json", "--source", source.to_str().unwrap()];
    for (doing, told) in [("Pushing", "the machine has ended"), ("Checking out", "another machine builds it again")] {
        let running = place.start(&[&words[..], &["--dist", dist.to_str().unwrap()]].concat());
        running.wait_for(doing);
        let machine = place.json(&["machine", "list", "--json"])[0]["id"].as_str().unwrap().to_owned();
        place.run(&["machine", "down", "--force", &machine]).expect(0);
        let done = running.end().expect(0).tells(&[told, "1 of 1 packages built"]);
        let results = done.json();
        assert_ne!(cell(&results, "wheel-3.13-x64")["machine"], *machine, "{results}");
    }
}
