//! The jail around a VMM, seen by one that has been taken over: nothing is there but what it was given.

mod ends;
mod rig;
mod walls;
