//! The `dunlin` binary: reads the command line, runs the server, or what `dunlin cluster` asks for.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use dunlin::base::title;
use dunlin::cli;
use dunlin::config::load::{self, Start};

fn main() -> ExitCode {
    title::prepare();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == "cluster") {
        return cli::run(&args[1..]);
    }
    let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
    match load::from_args(&args, &mut std::io::stdin().lock()) {
        Ok(Start::Run(config)) => dunlin::server::run(*config),
        Ok(Start::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
