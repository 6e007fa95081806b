//! Templates that can be asked for by name, for models that come without one.

use super::ChatTemplate;
use std::collections::BTreeMap;

/// Names and sources.
const NAMED: &[(&str, &str)] = &[
    (
        "chatml",
        "{% for message in messages %}\
         {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
         {% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for message in messages %}\
         {{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}\
         {% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for message in messages %}\
         {{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}\
         {{ message.content | trim + '<|eot_id|>' }}\
         {% endfor %}\
         {% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\
         {% endif %}",
    ),
];

impl ChatTemplate {
    /// The names that [`by_name`](Self::by_name) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// A format that several families share, by its name; `None` if no format has it.
    /// `special_tokens` are as in [`new`](Self::new).
    pub fn by_name(name: &str, special_tokens: BTreeMap<String, String>) -> Option<Self> {
        let (_, source) = NAMED.iter().find(|(known, _)| *known == name)?;
        Some(Self::new(source, special_tokens).expect("the templates that ship parse"))
    }
}
