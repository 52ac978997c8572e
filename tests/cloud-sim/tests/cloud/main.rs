//! The loopback cloud against captured requests, against requests signed here, and as a program.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod admin;
mod attachment;
mod aws;
mod binary;
mod client;
mod ecs;
mod ens;
mod faults;
mod huawei;
mod signing;
mod sts;
mod swas;
mod vectors;
mod volcengine;
