//! What a job in a jail can see, reach and become: the attacks of the security properties, each
//! made against the real kernel. Names begin with the property's id.

#[path = "../support/attack.rs"]
mod attack;
#[path = "../support/decoy.rs"]
mod decoy;
#[path = "../support/mod.rs"]
mod support;

mod credentials;
mod inherited;
mod kernel;
mod lifetime;
mod mounts;
mod view;
