//! Image operations: batches against single images, and pixels against torchvision.

mod batches;
mod goldens;
