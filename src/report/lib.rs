//! Results as text: `results.json`, `junit.xml`, `report.html`, and the summary for the terminal. This crate writes no file and prints
//! nothing.

pub mod html;
pub mod json;
pub mod junit;
pub mod kept;
pub mod terminal;
