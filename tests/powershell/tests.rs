use std::path::{Path, PathBuf};

use super::*;

/// All scripts for PowerShell below `folder`, sorted.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|extension| extension == "ps1") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_script_for_powershell_is_sound() {
    let found: Vec<PathBuf> = ["remote", "images"].iter().flat_map(|folder| scripts(&root().join(folder))).collect();
    assert!(found.len() >= 2, "the scripts are not where this test looks for them");
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(flaws(&text), [""; 0], "{}", path.display());
        assert!(
            text.is_ascii(),
            "{}: PowerShell 5.1 takes a file without a mark for the system's own code page",
            path.display()
        );
    }
}

const SOUND: &str = r#"# Says what it is given.
param(
    [string] $Name = 'a && b'
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

function Write-All([string[]] $Words) {
    foreach ($word in $Words) {
        if ($word -ne '') { Write-Output ('said: {0}' -f $word) } else { throw "nothing, ${Name}?" }
    }
}

# Never `||`.
try { Write-All @('x', $Name) } catch { Write-Output $_.Exception.Message }
exit 0
"#;

#[test]
fn each_planted_defect_is_found() {
    assert_eq!(flaws(SOUND), [""; 0]);
    for (sound, defect) in [
        // No grammar reads these.
        ("catch { Write-Output $_.Exception.Message }", "catch { Write-Output $_.Exception.Message"),
        ("'said: {0}'", "'said: {0}"),
        ("('x', $Name)", "('x', $Name"),
        ("$word -ne ''", "$word != ''"),
        ("$word in $Words", "$word of $Words"),
        ("} else {", "} else else {"),
        ("[string[]] $Words", "[string[] $Words"),
        ("exit 0", "}\nexit 0"),
        // Later PowerShells do.
        ("Write-All @('x', $Name) }", "Write-All @('x') && Write-All @($Name) }"),
        ("Write-All @('x', $Name) }", "Write-All @('x') || Write-All @($Name) }"),
        ("Write-All @('x', $Name) }", "Write-All @($Name ?? 'x') }"),
        ("$_.Exception.Message", "${_}?.Exception"),
        ("@('x', $Name)", "@($Name -eq 'a' ? 'b' : 'c')"),
        // All do, and go on after an error, or hide it.
        ("Set-StrictMode -Version 3.0\n", ""),
        ("$ErrorActionPreference = 'Stop'\n", "# $ErrorActionPreference = 'Stop'\n"),
        ("param(\n    [string] $Name = 'a && b'\n)\n", "$Name = 'a'\n"),
        ("exit 0\n", ""),
    ] {
        assert!(SOUND.contains(sound), "{sound}");
        let broken = SOUND.replacen(sound, defect, 1);
        assert!(!flaws(&broken).is_empty(), "not found: `{defect}` in place of `{sound}`");
    }
}

/// What EC2Launch runs, from its first tag to the next.
#[test]
fn the_user_data_of_a_machine_is_sound_as_it_is_sent() {
    let machine = "hg-0123456789".parse().unwrap();
    let now = "2026-11-20T10:00:00Z".parse().unwrap();
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}", "k".repeat(400));
    let data = guest::FirstBoot {
        machine: &machine,
        user: "Administrator",
        keys: Some(("ssh-ed25519 AAAA me", &key)),
        lease: now,
        expires_at: now,
        idle: None,
    };
    let text = guest::of(model::machine::Platform::Windows).life().unwrap().first_boot(&data);
    assert!(text.len() < 16 * 1024, "{} bytes, and EC2 takes 16384", text.len());
    let (script, _) = text.strip_prefix("<powershell>\n").unwrap().split_once("</powershell>\n").unwrap();
    assert_eq!(flaws(script), [""; 0]);
}
