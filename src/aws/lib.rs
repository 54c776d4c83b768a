//! Everything AWS: machines on Amazon EC2 ([`ec2`]), and connections through the Systems Manager agent of an instance
//! ([`ssm`]).
//!
//! No other crate depends on the crates of AWS; without the feature `ec2` of the binary, none of them is built.

pub mod ec2;
pub mod ssm;
