//! The real program against a fake daemon that speaks the wire types over a real unix socket.
//! A transcript is what a user would see: output, errors, exit code.

#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod copying;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fake_kernels;
#[cfg(test)]
mod help;
#[cfg(test)]
mod host;
#[cfg(test)]
mod hostile;
mod images;
#[cfg(test)]
mod insight;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod prepare;
#[cfg(test)]
mod run;
#[cfg(test)]
mod session;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod start;
#[cfg(test)]
mod system;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod top;
#[cfg(test)]
mod verbs;
#[cfg(test)]
mod vms;
#[cfg(test)]
mod workspace;
