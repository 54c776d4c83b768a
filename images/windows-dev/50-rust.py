# Installs Rust and PyOxidizer, by which Mercurial's installers are made.
#
# Runs as an administrator. Input: none. The programs that load Rust are pinned by their hashes, and what they load by its version or
# not at all: `stable` is today's, so its version stands in baked.json.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

HOMES = {"RUSTUP_HOME": hgdev.HGDEV + "/rustup", "CARGO_HOME": hgdev.HGDEV + "/cargo"}
RUSTUP = hgdev.HGDEV + "/cargo/bin/rustup.exe"
TOOLCHAINS = ("stable", "1.52.0")
OXIDIZER = hgdev.ROOT + "Program Files/PyOxidizer/pyoxidizer.exe"


def main():
    if not os.path.exists(RUSTUP):
        words = ["-y", "--no-modify-path", "--default-host", "x86_64-pc-windows-msvc", "--default-toolchain", "none"]
        hgdev.run([hgdev.fetch("rustup")] + words, env=HOMES, limit=600)
    for toolchain in TOOLCHAINS:
        hgdev.run([RUSTUP, "toolchain", "install", toolchain, "--profile", "minimal"], env=HOMES, limit=1800)
        hgdev.run([RUSTUP, "target", "add", "i686-pc-windows-msvc", "--toolchain", toolchain], env=HOMES, limit=900)
        hgdev.baked("rust-" + toolchain, hgdev.run([RUSTUP, "run", toolchain, "rustc", "--version"], env=HOMES, limit=120))
    hgdev.run([RUSTUP, "default", TOOLCHAINS[0]], env=HOMES, limit=120)
    if not os.path.exists(OXIDIZER):
        package = hgdev.fetch("pyoxidizer")
        hgdev.run(["msiexec.exe", "/i", os.path.normpath(package), "/qn", "/norestart"], fine=(0, 3010), limit=900)
    hgdev.baked("pyoxidizer", hgdev.run([OXIDIZER, "--version"], limit=120))


hgdev.step(main)
