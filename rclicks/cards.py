"""Facts about models, data sets and users, written as literals so that they can be listed without importing.

A plug-in file holds a module-level tuple ``CARDS`` whose elements are calls of one of these classes with
literal keyword arguments. `rclicks.registry` reads them from the syntax tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Card", "Checkpoint", "ClickModelCard", "DatasetCard", "ModelCard", "UserCard"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What every card says.

    Attributes
    ----------
    name : str
        Unique within its kind; lower-case words joined by hyphens for models and users.
    summary : str
        One line for listings.
    source, licence, citation : str
        Where it comes from (repository or paper), its licence, and the paper to cite.
    """

    name: str
    summary: str
    source: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A weight file: its name, where it was published and how to recognise it.

    Attributes
    ----------
    file : str
        File name as published.
    url : str
        Where its authors publish it; "" if unknown.
    sha256 : str
        Hex digest or its first digits; "" if unknown, and then not checked.
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
        Name of the family (one module of adapters/).
    variant : str
        What `build_network` of the module takes.
    dims : int
        2 for images, 3 for volumes.
    prompts : tuple of str
        Prompts the model was trained on (or designed for): "click", "box", "scribble", "lasso", "mask".
    accepts : tuple of str
        Prompts it can technically be given; a superset of `prompts`. Empty means the same as `prompts`.
    threshold : float
        Probability above which (strictly) a pixel belongs to the mask.
    probabilities : bool
        False for models that answer a mask alone.
    stateful : bool
        True for sessions that are quickest if the rounds of a trajectory follow one another; the engine then plays
        one trajectory after the other.
    encodes_once : bool
        True if the costly encoding depends on the image alone; False for early-fusion networks.
    batched : bool
        True if `segment` runs its lanes in one network call, so that the engine pads lanes.
    parameters : int
        Number of weights; 0 for methods without any.
    checkpoint : Checkpoint or None
        None for methods without weights.
    trained_on : tuple of str
        Data sets seen in training, as far as known; tables flag an overlap with the test data.
    trainable : bool
        True if ``rclicks train`` can train it: the module has the hooks of `rclicks.training.contract.TrainableModule`.
    starts_from : str
        Existing weights that a training can start from, in words; "" if it always starts from random ones.
    extra : str
        The optional dependency group that the model needs ("" for none).
    needs : tuple of str
        Options without a default, such as the address of a server.
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
        """Prompts the model can be given."""
        return self.accepts or self.prompts


@dataclass(frozen=True, kw_only=True)
class DatasetCard(Card):
    """Facts about one data set.

    Attributes
    ----------
    folder : str
        Folder looked for below a common data root; "" if the set needs no files.
    layout : str
        The files expected below the set's root, for messages and docs.
    samples, objects : int
        Published counts of the whole set (0 = unknown); subsets are legal and recorded as such.
    dims : int
        2 or 3.
    rater_identity : str
        "single", "known" (the same person has the same name in every sample) or "within-sample".
    get : str
        How to obtain it, in a sentence.
    prepares : bool
        True if the module has the hook `prepare`, so that ``rclicks data prepare NAME`` makes the files from raw data.
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
        Axes of the images it can look at: 2 for images, 3 for volumes.
    prompts : tuple of str
        Kinds of interaction it makes.
    stochastic : bool
        True if it draws random numbers, so that replicates differ.
    options : dict
        Option names and their defaults.
    files : tuple of str
        Names of the options that take the path of a file of data. The engine looks for a relative path in the current
        folder and then in the data root; with `skip_missing` a user whose file does not exist is left out.
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
        Axes of the images it can look at: 2 for images, 3 for volumes.
    variant : str
    local : bool
        True if the map depends on the error alone, not on the image or the rest of the object, so that a volume's map
        can be asked for within the error's window.
    batched : bool
        True if a network answers all asks in one call, so that lanes are padded to a canonical count.
    parameters : int
        Number of weights; 0 for rules.
    checkpoint : Checkpoint or None
        None for rules and for weights that come with the package.
    trained_on : tuple of str
        Data sets whose clicks were seen in training; tables flag an overlap with the test data.
    trainable : bool
        True if ``rclicks train`` can train it: the module has the hooks of `rclicks.training.contract.TrainableModule`.
    starts_from : str
        Existing weights that a training can start from, in words; "" if it always starts from random ones.
    extra : str
        The optional dependency group that it needs ("" for none).
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
