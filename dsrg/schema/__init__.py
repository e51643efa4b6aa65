"""Every setting of a run, typed, with its meaning as a docstring below it.

The defaults are mostly the authors' settings for VGG16 on VOC 2012 (Huang et al., CVPR 2018); all of those that they
released are configs/voc12/vgg16_official.yaml.
"""

from dsrg.schema.kinds import Fraction as Fraction
from dsrg.schema.kinds import Merge as Merge
from dsrg.schema.kinds import NonNegative as NonNegative
from dsrg.schema.kinds import OneOf as OneOf
from dsrg.schema.kinds import Scales as Scales
from dsrg.schema.kinds import Section as Section
from dsrg.schema.kinds import Side as Side
from dsrg.schema.prediction import Inference as Inference
from dsrg.schema.prediction import Localize as Localize
from dsrg.schema.prediction import Masks as Masks
from dsrg.schema.prediction import Test as Test
from dsrg.schema.run import Config as Config
from dsrg.schema.run import Data as Data
from dsrg.schema.supervision import Boxes as Boxes
from dsrg.schema.supervision import Cam as Cam
from dsrg.schema.supervision import Corrections as Corrections
from dsrg.schema.supervision import Crf as Crf
from dsrg.schema.supervision import Grow as Grow
from dsrg.schema.supervision import Losses as Losses
from dsrg.schema.supervision import Saliency as Saliency
from dsrg.schema.supervision import Seeds as Seeds
from dsrg.schema.training import Classifier as Classifier
from dsrg.schema.training import Dsrg as Dsrg
from dsrg.schema.training import Model as Model
from dsrg.schema.training import Retrain as Retrain
from dsrg.schema.training import Supervised as Supervised
from dsrg.schema.training import Train as Train
