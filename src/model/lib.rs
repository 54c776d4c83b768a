//! Words of the domain: plain data, pure rules, and the traits that adapters implement. There is no I/O, clock or
//! randomness except in [`base`].

pub mod artifact;
pub mod base;
pub mod build;
pub mod check;
pub mod connection;
pub mod event;
pub mod exit;
pub mod exit_code;
pub mod failure;
pub mod fault;
pub mod filesystem;
pub mod function;
pub mod image;
pub mod journal;
pub mod key_pair;
pub mod machine;
pub mod outcome;
pub mod output;
pub mod packaging;
pub mod parameter;
pub mod preparation;
pub mod price;
pub mod provider;
pub mod purge;
pub mod release;
pub mod resource;
pub mod run;
pub mod runner;
pub mod script;
pub mod setting;
pub mod subject;
pub mod sum;
pub mod task;
pub mod work;
