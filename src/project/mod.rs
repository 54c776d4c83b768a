//! What is particular to one code base. Knows no provider and no protocol: it says what to run, flows run it.

pub mod mercurial;
