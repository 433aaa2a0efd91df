"""The config of a whole run: one config per stage, under the stage's name."""

from worker.config.base import Config, StageConfig
from worker.config.classify import ClassifyConfig
from worker.config.cluster import ClusterConfig
from worker.config.evaluate import EvaluateConfig, ReportConfig
from worker.config.export import ExportConfig, ImportWeightsConfig
from worker.config.extract import ExtractConfig
from worker.config.ingest import IngestConfig
from worker.config.ingest_voc import IngestVocConfig
from worker.config.label import ImportLabelsConfig, LabelConfig
from worker.config.pipeline import StageName
from worker.config.pretrain import PretrainConfig
from worker.config.probe import ProbeConfig
from worker.config.regress import RegressConfig
from worker.config.sources import ClassLabelsConfig, HogConfig, InitialiseConfig
from worker.config.transfer import TransferConfig

CONFIG_CLASSES: dict[StageName, type[StageConfig]] = {
    StageName.ingest: IngestConfig,
    StageName.ingest_voc: IngestVocConfig,
    StageName.import_weights: ImportWeightsConfig,
    StageName.import_labels: ImportLabelsConfig,
    StageName.initialise: InitialiseConfig,
    StageName.pretrain: PretrainConfig,
    StageName.hog: HogConfig,
    StageName.extract: ExtractConfig,
    StageName.cluster: ClusterConfig,
    StageName.label: LabelConfig,
    StageName.class_labels: ClassLabelsConfig,
    StageName.classify: ClassifyConfig,
    StageName.regress: RegressConfig,
    StageName.export: ExportConfig,
    StageName.evaluate: EvaluateConfig,
    StageName.report: ReportConfig,
    StageName.probe: ProbeConfig,
    StageName.transfer: TransferConfig,
}


class PipelineConfig(Config):
    """All settings of a pipeline run. The defaults are the paper's (`paper` preset)."""

    initialise: InitialiseConfig = InitialiseConfig()
    pretrain: PretrainConfig = PretrainConfig()
    hog: HogConfig = HogConfig()
    extract: ExtractConfig = ExtractConfig()
    cluster: ClusterConfig = ClusterConfig()
    label: LabelConfig = LabelConfig()
    class_labels: ClassLabelsConfig = ClassLabelsConfig()
    classify: ClassifyConfig = ClassifyConfig()
    regress: RegressConfig = RegressConfig()
    export: ExportConfig = ExportConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
