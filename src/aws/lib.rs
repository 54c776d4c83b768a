//! Everything AWS: machines on Amazon EC2 ([`ec2`]), connections through the Systems Manager agent of an instance
//! ([`ssm`]), and functions of AWS Lambda ([`lambda`]).
//!
//! No other crate depends on the crates of AWS; without the feature `ec2` of the binary, none of them is built.

pub mod ec2;
pub mod lambda;
pub mod ssm;
