//! Data as bytes that outlive the process or travel to another.

pub mod aof;
pub mod pace;
pub mod rdb;
