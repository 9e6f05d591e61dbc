#!/usr/bin/env bash
# Fill benchmarks/gpu/pack (ignored by git) with all that a GPU machine without network needs beside the checkout:
# wheels it lacks, 20 pictures and masks, one volume, a tiny nnInteractive model.
#
#   benchmarks/gpu/prepare.sh DATA
#
# DATA is a folder with GrabCut/, Berkeley/, DAVIS/ and volumes/hippocampus/; what is absent is left out and said.
# Settings: PYTHON (one with rclicks and its extras, trains the tiny model; default python3), PIP (a Python whose pip
# can download; default $PYTHON), PLANNED (version of Python on the GPU machine; default 3.12), STEPS (of the training,
# default 50). Finished parts are not made again; delete the folder to begin anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
data=${1:?usage: prepare.sh DATA}
root=$(cd ../.. && pwd)
python=${PYTHON:-python3} pip=${PIP:-${PYTHON:-python3}} planned=${PLANNED:-3.12} steps=${STEPS:-50}
pack=pack limit=$((64 * 1024 * 1024))
export PYTHONPATH="$root:$PWD${PYTHONPATH:+:$PYTHONPATH}"

wheels() {
    local platforms=() tools="$pack/tools" minor word name constraints
    for minor in 39 35 34 31 28 27 24 17; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
    platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
    mkdir -p "$pack/wheels"
    constraints=$(mktemp)
    # Names are compared in one spelling, because pip's constraints ignore how they are written.
    grep -v '^#' "$root/constraints.txt" >"$constraints"
    while read -r word name; do
        case "$word" in "#"* | "") continue ;; build) ;; *) name=$word ;; esac
        local stem=${name//-/[-_.]}
        if compgen -G "$pack/wheels/$stem-[0-9]*.whl" >/dev/null; then continue; fi
        echo "wheel of $name"
        if [ "$word" = build ]; then
            if [ ! -x "$tools/bin/python" ]; then
                "$pip" -m venv "$tools"
                "$tools/bin/python" -m pip install -q --disable-pip-version-check setuptools wheel
            fi
            # sam2 asks for torch to be built, but needs it for its CUDA part only, which is not built.
            SAM2_BUILD_CUDA=0 "$tools/bin/python" -m pip wheel -q --disable-pip-version-check --no-deps \
                --no-build-isolation -c "$constraints" -w "$pack/wheels" "$name"
        else
            "$pip" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
                --implementation cp --python-version "$planned" "${platforms[@]}" -c "$constraints" \
                -d "$pack/wheels" "$name"
        fi
    done <wheels.txt
    rm -rf "$constraints" "$tools"
}

# pictures SET COUNT IMAGES MASKS: copy COUNT images spread over the set, and the masks of the same names.
pictures() {
    local set=$1 count=$2 images=$3 masks=$4 from="$data/$1" to="$pack/data/$1" all=() i image stem mask
    if [ ! -d "$from/$images" ]; then
        echo "left out: no $from/$images" >&2
        return
    fi
    if [ -d "$to" ]; then return; fi
    mapfile -t all < <(find "$from/$images" -maxdepth 1 -iname '*.jpg' | LC_ALL=C sort)
    mkdir -p "$to/$images" "$to/$masks"
    for ((i = 0; i < count; i++)); do
        image=${all[i * ${#all[@]} / count]}
        stem=$(basename "${image%.*}")
        for mask in "$from/$masks/$stem".*; do cp "$mask" "$to/$masks/"; done
        cp "$image" "$to/$images/"
    done
    chmod -R u+w "$to"
}

volume() {
    local from="$data/volumes/hippocampus" to="$pack/data/hippocampus" first
    if [ ! -d "$from" ]; then
        echo "left out: no $from" >&2
        return
    fi
    if [ ! -d "$to" ]; then
        first=$(find "$from/images" -name '*.nii.gz' | LC_ALL=C sort | head -n 1)
        mkdir -p "$to/images" "$to/labels"
        cp "$first" "$to/images/"
        cp "$from/labels/$(basename "$first")" "$to/labels/"
        chmod -R u+w "$to"
    fi
    if [ ! -f "$pack/models/volume-demo/plans.json" ]; then
        echo "training the tiny nnInteractive model, $steps steps"
        rm -rf "$pack/models"
        "$python" -m rclicks train "nninteractive:steps=$steps,licence=CC BY-SA 4.0 as its data" hippocampus \
            --data-root "$data" --out "$pack/models/volume-demo" >/dev/null
        rm -rf "$pack/models/volume-demo/training"
    fi
}

mkdir -p "$pack"
wheels
pictures GrabCut 8 data_GT boundary_GT
pictures Berkeley 6 images masks
pictures DAVIS 6 img gt
volume

tree=$(git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && du -cb --files0-from=- 2>/dev/null) | tail -n 1 | cut -f 1)
packed=$(du -sb "$pack" | cut -f 1)
echo "working tree $((tree / 1024)) KiB, pack $((packed / 1024)) KiB, together $(((tree + packed) / 1024)) of $((limit / 1024)) KiB"
if ((tree + packed > limit)); then
    echo "prepare.sh: this is more than may travel; make wheels.txt shorter" >&2
    exit 1
fi
