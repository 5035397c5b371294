//! The real program against a fake daemon that speaks the wire types over a real unix socket.
//! A transcript is what a user would see: output, errors, exit code.

#[cfg(test)]
mod api;
#[cfg(test)]
mod arguments;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod config;
#[cfg(test)]
mod copying;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod exit_codes;
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
#[cfg(test)]
mod images;
#[cfg(test)]
mod insight;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod json;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod links;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod prepare;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod run;
#[cfg(test)]
mod session;
#[cfg(test)]
mod snippets;
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
mod troubleshooting;
#[cfg(test)]
mod update;
#[cfg(test)]
mod variables;
#[cfg(test)]
mod verbs;
#[cfg(test)]
mod vms;
#[cfg(test)]
mod workspace;
