//! A second opinion on EC2 and STS, which somebody else wrote: the daemon against moto. What it cannot judge, signatures,
//! is judged by the captured requests and by cloud-sim.

#[path = "moto/pairs.rs"]
mod pairs;
#[path = "moto/roles.rs"]
mod roles;
