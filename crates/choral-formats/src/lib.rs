//! Readers for GGUF, safetensors and Hugging Face configuration files.
