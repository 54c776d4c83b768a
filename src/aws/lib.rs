//! Everything AWS: machines of Amazon EC2 ([`ec2`]), and the connection by an instance's agent of Systems Manager ([`ssm`]).
//!
//! No other crate names one of AWS's; without the feature `ec2` of the binary, none of them is built.

pub mod ec2;
pub mod ssm;
