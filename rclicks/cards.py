"""Cards: facts about models, data sets, users and click models, readable without importing their modules.

A plug-in file has a module-level tuple ``CARDS``. Its elements are calls of one of these classes with literal keyword
arguments. `rclicks.registry` reads them from the syntax tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Card", "Checkpoint", "ClickModelCard", "DatasetCard", "ModelCard", "UserCard"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts that every card states.

    Attributes
    ----------
    name : str
        Name, unique among the cards of one kind. Names of models and users are lower-case words joined by hyphens.
    summary : str
        One line for listings.
    source, licence, citation : str
        Repository or paper of origin, licence, and paper to cite; "" if unknown.
    """

    name: str
    summary: str
    source: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published file of weights.

    Attributes
    ----------
    file : str
        File name as published.
    url : str
        Address at which the authors publish it; "" if unknown.
    sha256 : str
        SHA-256 digest in hexadecimal digits, or its first digits; "" if unknown. An unknown digest is not checked.
    """

    file: str
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """Facts about one model variant.

    Attributes
    ----------
    family : str
        Name of the family, which is one module of adapters/.
    variant : str
        Argument of the hook `build_network`, such as the size of the network.
    dims : int
        Number of image axes: 2 for images, 3 for volumes.
    prompts : tuple of str
        Interactions that the model was trained on or designed for: "click", "box", "scribble", "lasso", "mask".
    accepts : tuple of str
        Interactions that the model can process, a superset of `prompts`. Empty means the same as `prompts`.
    threshold : float
        Probability threshold: a pixel belongs to the mask if its probability is greater than this.
    probabilities : bool
        False if the model returns only a mask.
    stateful : bool
        True if the model is a session that runs fastest when the rounds of one trajectory follow each other. The engine
        then runs one trajectory after the other.
    encodes_once : bool
        True if the expensive encoding depends on the image alone; False for early-fusion networks.
    batched : bool
        True if `segment` predicts all its trajectories in one call of the network. The engine then pads every call to
        the batch size.
    parameters : int
        Number of weights; 0 for methods without weights.
    checkpoint : Checkpoint or None
        Published file of weights; None for methods without weights.
    trained_on : tuple of str
        Data sets of the training, as far as known. Tables mark an overlap with the test data.
    trainable : bool
        True if ``rclicks train`` can train it: the module has the hooks of `rclicks.training.contract.TrainableModule`.
    starts_from : str
        Description of the existing weights that a training can start from; "" if it always starts from random weights.
    extra : str
        Group of optional dependencies that the model needs; "" for none.
    needs : tuple of str
        Options that have no default and must be given, such as the address of a server.
    """

    family: str
    variant: str = ""
    dims: int = 2
    prompts: tuple[str, ...] = ("click",)
    accepts: tuple[str, ...] = ()
    threshold: float = 0.5
    probabilities: bool = True
    stateful: bool = False
    encodes_once: bool = False
    batched: bool = False
    parameters: int = 0
    checkpoint: Checkpoint | None = None
    trained_on: tuple[str, ...] = ()
    trainable: bool = False
    starts_from: str = ""
    extra: str = ""
    needs: tuple[str, ...] = ()

    @property
    def takes(self) -> tuple[str, ...]:
        """Interactions that the model can process."""
        return self.accepts or self.prompts


@dataclass(frozen=True, kw_only=True)
class DatasetCard(Card):
    """Facts about one data set.

    Attributes
    ----------
    folder : str
        Name of its folder in the common data root; "" if the data set needs no files.
    layout : str
        Description of the files in its folder, for messages and documentation.
    samples, objects : int
        Published counts of the complete data set; 0 if unknown. A subset is allowed; records state the true count.
    dims : int
        Number of image axes: 2 for images, 3 for volumes.
    rater_identity : str
        Meaning of rater names: "single" (one rater), "known" (a name means the same person in every sample) or
        "within-sample" (a name means a person within one sample only).
    get : str
        One sentence that says how to obtain the data.
    prepares : bool
        True if the module has the hook `prepare`. ``rclicks data prepare NAME`` then makes the files from raw data.
    """

    folder: str = ""
    layout: str = ""
    samples: int = 0
    objects: int = 0
    dims: int = 2
    rater_identity: str = "single"
    get: str = ""
    prepares: bool = False


@dataclass(frozen=True, kw_only=True)
class UserCard(Card):
    """Facts about one simulated or recorded user.

    Attributes
    ----------
    dims : tuple of int
        Supported numbers of image axes: 2 for images, 3 for volumes.
    prompts : tuple of str
        Kinds of interaction that the user makes.
    stochastic : bool
        True if the user draws random numbers, so that replicates differ.
    options : dict of str to value
        Options and their defaults.
    files : tuple of str
        Names of the options that take the path of a data file. The engine looks for a relative path first in the
        current folder and then in the data root. With `skip_missing`, a user whose file does not exist is left out.
    """

    dims: tuple[int, ...] = (2,)
    prompts: tuple[str, ...] = ("click",)
    stochastic: bool = False
    options: dict[str, object] = field(default_factory=dict)
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClickModelCard(Card):
    """Facts about one click model.

    Attributes
    ----------
    dims : tuple of int
        Supported numbers of image axes: 2 for images, 3 for volumes.
    variant : str
        Name of a version of the click model, such as the size of its network; "" if there is one version only.
    local : bool
        True if the map depends on the error alone, not on the image or the rest of the object. The map of a volume is
        then computed only within the bounding box of the error.
    batched : bool
        True if a network answers several queries in one call. The engine then pads every call to the batch size.
    parameters : int
        Number of weights; 0 for rules.
    checkpoint : Checkpoint or None
        Published file of weights; None for rules and for weights that are included in the package.
    trained_on : tuple of str
        Data sets whose clicks were used in training. Tables mark an overlap with the test data.
    trainable : bool
        True if ``rclicks train`` can train it: the module has the hooks of `rclicks.training.contract.TrainableModule`.
    starts_from : str
        Description of the existing weights that a training can start from; "" if it always starts from random weights.
    extra : str
        Group of optional dependencies that the click model needs; "" for none.
    """

    dims: tuple[int, ...] = (2,)
    variant: str = ""
    local: bool = False
    batched: bool = False
    parameters: int = 0
    checkpoint: Checkpoint | None = None
    trained_on: tuple[str, ...] = ()
    trainable: bool = False
    starts_from: str = ""
    extra: str = ""
