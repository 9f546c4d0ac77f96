//! Every option Dunlin knows, in one table, and the ways to read and change them.
