//! Checks before a bake that the image fits on the disk, because the bake would take minutes to fail.

use std::path::Path;

use model::base::text;
use model::fault::Fault;
use model::image::{LayerPlan, LayerRecipe};

/// The bytes of a whole image: 0.9 GiB for `linux-dev` on every distribution, including the lowest layer.
const IMAGE: u64 = 920 << 20;

/// The part of [`IMAGE`] for the lowest layer, and for its packages until they are unpacked.
const BASE: u64 = 680 << 20;

/// The number of files of a whole image, rounded up.
pub(crate) const IMAGE_INODES: u64 = 60_000;

/// The free space of a file system for this user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Free {
    /// The free bytes.
    pub bytes: u64,
    /// The number of files that can be made; `u64::MAX` on a file system without a limit.
    pub inodes: u64,
}

impl Free {
    /// Whether a whole image fits.
    pub(crate) fn fits_image(&self) -> bool {
        self.bytes >= IMAGE && self.inodes >= IMAGE_INODES
    }
}

/// The free space of the file system that holds `path`.
pub(crate) fn free(path: &Path) -> std::io::Result<Free> {
    let found = rustix::fs::statvfs(path)?;
    let inodes = if found.f_files == 0 { u64::MAX } else { found.f_favail };
    Ok(Free { bytes: found.f_bavail.saturating_mul(found.f_frsize), inodes })
}

/// Refuses a bake whose missing layers do not fit on the file system of the state directory.
pub(crate) fn check(state: &Path, missing: &[LayerPlan]) -> Result<(), Fault> {
    // A file system that does not report its free space is not a reason to refuse.
    let Ok(free) = free(state) else { return Ok(()) };
    decide(free, missing).map_err(|what| {
        Fault::outside(format!("there is no room to bake an image at `{}`", state.display()))
            .because(what)
            .hint("Make room (`automation image gc` removes unused images), or name another place with `--state-path`.")
    })
}

fn decide(free: Free, missing: &[LayerPlan]) -> Result<(), String> {
    if missing.is_empty() {
        return Ok(());
    }
    let whole = missing.iter().any(|layer| matches!(layer.recipe, LayerRecipe::Base(_)));
    let bytes = if whole { IMAGE } else { IMAGE - BASE };
    if free.bytes < bytes {
        return Err(format!("it takes up to {}, and {} are free", text::bytes(bytes), text::bytes(free.bytes)));
    }
    if free.inodes < IMAGE_INODES {
        return Err(format!("it has up to {IMAGE_INODES} files, and only {} can be made", free.inodes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use model::image::{BaseSpec, Fingerprint};

    fn layer(recipe: LayerRecipe) -> LayerPlan {
        LayerPlan { name: "x".into(), description: "x".into(), recipe, fingerprint: Fingerprint("aa".into()) }
    }

    #[test]
    fn what_does_not_fit_is_told_in_numbers() {
        let base = layer(LayerRecipe::Base(BaseSpec {
            family: "debian".into(),
            suite: "bookworm".into(),
            suites: vec![],
            security_suite: None,
            components: vec![],
            packages: vec![],
        }));
        let limit = Duration::from_secs(1);
        let step = layer(LayerRecipe::Script { text: String::new(), files: Vec::new(), env: Vec::new(), limit });
        let free = |bytes: u64, inodes| Free { bytes: bytes << 20, inodes };
        assert_eq!(decide(free(0, 0), &[]), Ok(()));
        assert_eq!(decide(free(1000, u64::MAX), &[base.clone(), step.clone()]), Ok(()));
        assert_eq!(decide(free(700, 100_000), std::slice::from_ref(&step)), Ok(()));
        let why = decide(free(700, 100_000), &[base.clone(), step]).unwrap_err();
        assert_eq!(why, "it takes up to 920.0 MiB, and 700.0 MiB are free");
        assert!(decide(free(1000, 50), &[base]).unwrap_err().contains("only 50 can be made"));
        assert!(super::free(Path::new("/")).unwrap().bytes > 0);
    }
}
