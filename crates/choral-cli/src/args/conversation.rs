//! What commands have in common that ask a model in its chat template.

use super::ModelArgs;
use super::sampling::SamplingArgs;
use super::template::TemplateArgs;
use anyhow::Result;

/// Which model is asked, how it draws its answer, and in which template.
#[derive(Debug, clap::Args)]
pub(crate) struct ConversationArgs {
    /// Show the configuration
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Print nothing but answers
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
}

impl ConversationArgs {
    /// Refuses what no model could honour, before one is loaded.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.model.choice.quiet = self.quiet;
        self.sampling.check(1)?;
        self.template.check()
    }
}
