//! Seeing how far behind the copy is: waiting for it, asking about a path, being asked by a monitor.

mod asking;
mod logging;
mod rotating;
mod scraping;
mod waiting;
