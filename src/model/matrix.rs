//! A matrix: the same tests under every combination of some choices, such as two distributions with two file systems each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The most points of a matrix: each is a machine at least.
pub const MOST_POINTS: usize = 256;

/// The characters of a value that need not be written otherwise in the name of a folder.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// A choice, and what is chosen from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// The choice, such as `distro`.
    pub name: String,
    /// The values, in the user's order; at least one, none twice.
    pub values: Vec<String>,
}

impl Axis {
    /// Reads `NAME=VALUE,VALUE…`. Fails with what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("`{text}` is not AXIS=VALUE,VALUE… as in `filesystem=default,tmpfs`; names of tests come before `--matrix`")
        })?;
        Self::of(name, values.split(',').map(str::to_owned).collect())
    }

    /// The axis with these values, of which there is one at least. Fails where one is blank or stands twice.
    pub fn of(name: &str, values: Vec<String>) -> Result<Self, String> {
        for (at, value) in values.iter().enumerate() {
            if value.is_empty() {
                return Err(format!(
                    "a value of `{name}` is blank: behind `=` stand its values, with commas between them"
                ));
            }
            if values.iter().take(at).any(|before| before == value) {
                return Err(format!("`{value}` stands twice among the values of `{name}`"));
            }
        }
        Ok(Self { name: name.to_owned(), values })
    }
}

/// One choice, and what was chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coordinate {
    /// The choice.
    pub axis: String,
    /// What was chosen.
    pub value: String,
}

/// A point of a matrix: one value of each axis, in the user's order. Without a matrix it has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Point(pub Vec<Coordinate>);

impl Point {
    /// The value of an axis.
    pub fn get(&self, axis: &str) -> Option<&str> {
        self.0.iter().find(|coordinate| coordinate.axis == axis).map(|coordinate| coordinate.value.as_str())
    }

    /// Its name, where there is a matrix: `debian12/tmpfs`.
    pub fn name(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }

    /// A name for its folder, by which the points of one matrix are told apart and sorted: `02-debian12-tmpfs`.
    pub fn folder(&self, number: usize) -> String {
        let plain = |c: char| if is_plain(c) { c } else { '_' };
        let values: Vec<String> =
            self.0.iter().map(|coordinate| coordinate.value.chars().map(plain).take(40).collect()).collect();
        format!("{number:03}-{}", values.join("-"))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.0.iter().map(|coordinate| coordinate.value.as_str()).collect();
        f.write_str(&values.join("/"))
    }
}

/// Every point, where the last axis varies fastest; one without coordinates where there is no axis. Fails where an axis stands twice,
/// and where there are more than [`MOST_POINTS`].
pub fn points(axes: &[Axis]) -> Result<Vec<Point>, Fault> {
    let mut all = vec![Point::default()];
    for (at, axis) in axes.iter().enumerate() {
        if axes.iter().take(at).any(|before| before.name == axis.name) {
            return Err(Fault::usage(format!("the axis `{}` stands twice in `--matrix`", axis.name))
                .hint(format!("Name all its values at once: `--matrix {}=A,B`.", axis.name)));
        }
        if all.len().saturating_mul(axis.values.len()) > MOST_POINTS {
            return Err(Fault::usage(format!("the matrix has more than {MOST_POINTS} cells"))
                .hint("Run it in parts, with some of the values each."));
        }
        let with = |point: &Point, value: &String| {
            let coordinate = Coordinate { axis: axis.name.clone(), value: value.clone() };
            Point(point.0.iter().cloned().chain([coordinate]).collect())
        };
        all = all.iter().flat_map(|point| axis.values.iter().map(|value| with(point, value))).collect();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reads_as_people_write_it() {
        let axis = Axis::parse("filesystem=default,tmpfs").unwrap();
        assert_eq!((axis.name.as_str(), axis.values.len()), ("filesystem", 2));
        for wrong in ["filesystem", "=a", "a=", "a=b,", "a=b,b", "test-add.t"] {
            assert!(Axis::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_combination_is_one_point() {
        let axes = [Axis::parse("a=1,2").unwrap(), Axis::parse("b=x,y").unwrap()];
        let all = points(&axes).unwrap();
        let names: Vec<String> = all.iter().filter_map(Point::name).collect();
        assert_eq!(names, ["1/x", "1/y", "2/x", "2/y"]);
        assert_eq!((all[1].get("b"), all[1].get("c"), all[1].folder(2).as_str()), (Some("y"), None, "002-1-y"));
        assert_eq!(points(&[]).unwrap(), [Point::default()]);
        assert_eq!(Point::default().name(), None);
        assert!(points(&[axes[0].clone(), axes[0].clone()]).is_err(), "an axis stands twice");
        let long = Axis { name: "n".into(), values: (0..=MOST_POINTS).map(|n| n.to_string()).collect() };
        assert!(points(&[long]).is_err());
    }
}
