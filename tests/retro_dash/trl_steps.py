"""Train one step on an exported file, with whatever python has trl: `trl_steps.py sft|dpo|kto MODEL FILE FOLDER`.

The file is read by `datasets` and given to the trainer as it is.
"""

from __future__ import annotations

import json
import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

TRAINERS = {"sft": (SFTConfig, SFTTrainer), "dpo": (DPOConfig, DPOTrainer), "kto": (KTOConfig, KTOTrainer)}

if __name__ == "__main__":
    method, model_folder, file, folder = sys.argv[1:]
    rows = load_dataset("json", data_files=file, split="train")
    common = {
        "output_dir": folder,
        "max_steps": 1,
        "per_device_train_batch_size": len(rows),
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
    }
    config, trainer = TRAINERS[method]
    training = trainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder),
        args=config(**common),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model_folder),
    )
    result = training.train()
    print(json.dumps({"rows": len(rows), "steps": result.global_step, "loss": result.training_loss}))
