//! The option that repeats the tests under each combination of some choices.

use model::base::text;
use model::fault::Fault;
use model::matrix::{self, Axis, Point};

/// The matrix of a command that runs tests.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MatrixArgs {
    /// Run once for each combination of these values, each with machines and a verdict of its own: AXIS=VALUE,VALUE… as in
    /// `distro=debian12,debian13 filesystem=default,tmpfs`
    #[arg(long, value_name = "AXIS=VALUE,…", num_args = 1.., value_parser = Axis::parse)]
    matrix: Vec<Axis>,
}

/// An axis that a command knows: its name, and the option that chooses the same where that is given.
pub type KnownAxis<'a> = (&'a str, Option<&'a str>);

impl MatrixArgs {
    /// Whether there is one.
    pub fn is_given(&self) -> bool {
        !self.matrix.is_empty()
    }

    /// The names of its axes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.matrix.iter().map(|axis| axis.name.as_str())
    }

    /// The points of the matrix; a single one without coordinates where none is wanted. An axis has to be one of `known`, and must not be
    /// chosen by its option as well; `first` is the one whose option names several values.
    pub fn points(&self, known: &[KnownAxis<'_>], first: Option<Axis>) -> Result<Vec<Point>, Fault> {
        for axis in &self.matrix {
            match known.iter().find(|(name, _)| *name == axis.name) {
                None => return Err(unknown(&axis.name, known)),
                Some((name, Some(option))) => {
                    return Err(Fault::usage(format!(
                        "`{option}` and the axis `{name}` of `--matrix` choose the same"
                    ))
                    .hint(format!("Leave `{option}` out.")));
                }
                Some((_, None)) => {}
            }
        }
        let axes: Vec<Axis> = first.into_iter().chain(self.matrix.iter().cloned()).collect();
        matrix::points(&axes)
    }
}

/// Axes that not every command has, each with one that has it.
const OF_OTHERS: [(&str, &str); 2] = [("filesystem", "run-tests-linux"), ("arch", "run-tests-windows")];

fn unknown(name: &str, known: &[KnownAxis<'_>]) -> Fault {
    let other = OF_OTHERS.iter().find(|(axis, _)| *axis == name);
    let other = other.map(|(axis, command)| format!(" `{axis}` is one of `{command}`.")).unwrap_or_default();
    let names = || known.iter().map(|(name, _)| *name);
    let near = text::nearest(name, names()).map(|near| format!("Did you mean `{near}`? ")).unwrap_or_default();
    let all: Vec<String> = names().map(|name| format!("`{name}`")).collect();
    Fault::usage(format!("`{name}` is not an axis of this command"))
        .hint(format!("{near}Its axes are {}.{other}", all.join(", ")))
}

/// The fault of a cell, with its name, so that one sees which of many cannot be.
pub fn in_cell(point: &Point, mut fault: Fault) -> Fault {
    if let Some(name) = point.name() {
        fault.message = format!("cell {name}: {}", fault.message);
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_one_that_the_command_has_and_is_chosen_once() {
        let args =
            |words: &[&str]| MatrixArgs { matrix: words.iter().map(|word| Axis::parse(word).unwrap()).collect() };
        let known = [("distro", Some("--distro")), ("filesystem", None)];
        assert_eq!(args(&["filesystem=default,tmpfs"]).points(&known, None).unwrap().len(), 2);
        assert_eq!(args(&[]).points(&known, None).unwrap(), [Point::default()]);
        let several = Some(Axis::parse("distro=debian12,debian13").unwrap());
        let points = args(&["filesystem=default,tmpfs"]).points(&known, several).unwrap();
        let names: Vec<String> = points.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["debian12/default", "debian12/tmpfs", "debian13/default", "debian13/tmpfs"]);
        let near = args(&["filesytem=tmpfs"]).points(&known, None).unwrap_err();
        assert!(near.hint.unwrap().starts_with("Did you mean `filesystem`?"));
        assert!(args(&["distro=debian12"]).points(&known, None).is_err(), "`--distro` is given");
    }
}
