"""A Mask R-CNN for two CPU cores: EfficientNet-Lite0, 64-channel FPN on P3-P6.

Trial on voc-animals with true masks, 288 px, batch 4, AdamW 5e-4 (backbone x 0.3), 1,395 iterations of
0.5-0.8 s on one thread, 1.3 GB: segm AP50 / AP75 .72 / .52.

Lite0's features are linear bottlenecks with rms up to 8: `unit_rms` scales them (first losses 8.1 -> 3.9).
Its weights expect SAME padding, exact at sizes divisible by 32.
"""

custom_imports = dict(imports=["wsis.method.prediction.registrations"], allow_failed_imports=False)

_roi_extractor = dict(
    type="SingleRoIExtractor", out_channels=64, featmap_strides=[8, 16, 32], finest_scale=56
)
_nms = dict(type="nms", iou_threshold=0.7)

model = dict(
    type="MaskRCNN",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_mask=False,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="EfficientNetLite0",
        out_indices=(2, 3, 4),
        batch_norm="frozen_statistics",
        frozen_blocks=3,
        unit_rms=True,
    ),
    neck=dict(type="FPN", in_channels=[40, 112, 320], out_channels=64, num_outs=4),
    rpn_head=dict(
        type="RPNHead",
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[4, 5.6], ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32, 64]
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            _roi_extractor, roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2)
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=64,
            fc_out_channels=256,
            roi_feat_size=7,
            num_classes=20,
            bbox_coder=dict(
                type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]
            ),
            reg_class_agnostic=False,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        mask_roi_extractor=dict(
            _roi_extractor, roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2)
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=2,
            in_channels=64,
            conv_out_channels=64,
            num_classes=20,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler", num=128, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=300, max_per_img=150, nms=_nms, min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler", num=64, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
            ),
            mask_size=28,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=100, nms=_nms, min_bbox_size=0),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=100,
            mask_thr_binary=0.5,
        ),
    ),
)
