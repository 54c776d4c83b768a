//! The project of the demonstration: two tests of the machine that they run on. It is the folder `examples/demo`, and a part of the tool.

use std::path::Path;

use model::fault::Fault;

use crate::file;

/// The name of its table of tests.
pub const SUITE: &str = "demo";

/// Its files.
const FILES: [(&str, &str); 2] = [
    (file::NAME, include_str!("../../examples/demo/automation.toml")),
    ("demo.py", include_str!("../../examples/demo/demo.py")),
];

/// Writes its files into `folder`, which is made.
pub fn write(folder: &Path) -> Result<(), Fault> {
    let refused = |error| Fault::outside(format!("cannot write into `{}`", folder.display())).because(error);
    std::fs::create_dir_all(folder).map_err(refused)?;
    FILES.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared;
    use crate::image;

    #[test]
    fn its_tests_are_declared_and_its_image_is_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        write(&project).unwrap();
        let (declaration, around) = declared::load_suite(&project.join(file::NAME), SUITE).unwrap();
        assert_eq!((declaration.name.as_str(), around.image.as_deref()), ("demo", Some("bare")));
        image::load(None, "bare").unwrap();
    }
}
