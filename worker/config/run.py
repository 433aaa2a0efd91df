"""The config of a whole run: one config per stage, under the stage's name."""

from worker.config.base import Config, StageConfig
from worker.config.classify import ClassifyConfig
from worker.config.cluster import ClusterConfig
from worker.config.evaluate import EvaluateConfig, ReportConfig
from worker.config.export import ExportConfig, ImportWeightsConfig
from worker.config.extract import ExtractConfig
from worker.config.ingest import IngestConfig
from worker.config.label import ImportLabelsConfig, LabelConfig
from worker.config.pipeline import StageName
from worker.config.pretrain import PretrainConfig

CONFIG_CLASSES: dict[StageName, type[StageConfig]] = {
    StageName.ingest: IngestConfig,
    StageName.import_weights: ImportWeightsConfig,
    StageName.import_labels: ImportLabelsConfig,
    StageName.pretrain: PretrainConfig,
    StageName.extract: ExtractConfig,
    StageName.cluster: ClusterConfig,
    StageName.label: LabelConfig,
    StageName.classify: ClassifyConfig,
    StageName.export: ExportConfig,
    StageName.evaluate: EvaluateConfig,
    StageName.report: ReportConfig,
}


class PipelineConfig(Config):
    """All settings of a pipeline run. The defaults are the paper's (`paper` preset)."""

    pretrain: PretrainConfig = PretrainConfig()
    extract: ExtractConfig = ExtractConfig()
    cluster: ClusterConfig = ClusterConfig()
    label: LabelConfig = LabelConfig()
    classify: ClassifyConfig = ClassifyConfig()
    export: ExportConfig = ExportConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
